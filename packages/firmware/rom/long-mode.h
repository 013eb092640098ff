/*
 * What long mode needs before it is entered (enter.S).
 */
#pragma once

#include "types.h"

/* Whether the CPU has it (Intel SDM vol 2, CPUID leaf 0x80000001). */
bool8 has_long_mode(void);
/* Builds the page tables at PAGE_TABLES: what is below 4 GiB stays where it is. */
void map_identity(void);
