/*
 * What the VMM tells firmware.
 */
#pragma once

#include "types.h"

/* The number of CPUs; 0 where there is no such device. */
u32 fw_cfg_cpu_count(void);
