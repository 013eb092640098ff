/*
 * The battery-backed clock.
 */
#pragma once

#include "types.h"

struct date_time {
	u32 year, month, day, hour, minute, second;
};

bool rtc_present(void);

/* False when what the clock says cannot be a date. */
bool rtc_read(struct date_time *now);
