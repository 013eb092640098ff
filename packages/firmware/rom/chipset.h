/*
 * What firmware has to switch on before a machine's tables are true.
 */
#pragma once

/* The ACPI registers of a PC's south bridge, which have no address of their own; other machines are left alone. */
void chipset_start(void);
