/*
 * SMBIOS: fw_cfg has the tables and an entry point that lacks their address (QEMU, docs/specs/fw_cfg.rst).
 */
#pragma once

/* Places both. A machine may have none. */
void smbios_install(void);
