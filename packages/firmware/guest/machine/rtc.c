/*
 * Date and time from the RTC (Motorola MC146818 datasheet). The century is where PCs keep it in CMOS memory (the FADT
 * names the place; ACPI 6.5, 5.2.9).
 */
#include "machine/rtc.h"

#include "cpu/instructions.h"
#include "machine/ports.h"

enum cmos { SECONDS = 0x00, MINUTES = 0x02, HOURS = 0x04, DAY = 0x07, MONTH = 0x08, YEAR = 0x09,
	    STATUS_A = 0x0a, STATUS_B = 0x0b, STATUS_D = 0x0d, CENTURY = 0x32 };

#define ABSENT 0xff
#define UPDATE_IN_PROGRESS (1 << 7)
#define HOURS_24 (1 << 1)
#define BINARY (1 << 2)
#define PM (1 << 7)
#define BATTERY_GOOD (1 << 7)
/* An update takes less than 2 ms; a chip that is in one for longer is not there. */
#define UPDATE_ATTEMPTS 10000

static u8 cmos_read(enum cmos index)
{
	outb(RTC_INDEX, index);
	return inb(RTC_DATA);
}

static u32 number(u8 raw, u8 status)
{
	return status & BINARY ? raw : (raw >> 4) * 10u + (raw & 0xf);
}

static u32 hour(u8 raw, u8 status)
{
	u32 value = number(raw & ~PM, status);

	if (status & HOURS_24)
		return number(raw, status);
	return value % 12 + (raw & PM ? 12 : 0);
}

/* An unclaimed port reads as all ones, which in status B would mean that the clock is stopped and plays an alarm. */
bool rtc_present(void)
{
	return cmos_read(STATUS_B) != ABSENT;
}

bool rtc_read(struct date_time *now)
{
	u8 status;
	u32 attempts = 0;

	do {
		for (; cmos_read(STATUS_A) & UPDATE_IN_PROGRESS; attempts++)
			if (attempts == UPDATE_ATTEMPTS)
				return false;
		status = cmos_read(STATUS_B);
		now->second = number(cmos_read(SECONDS), status);
		now->minute = number(cmos_read(MINUTES), status);
		now->hour = hour(cmos_read(HOURS), status);
		now->day = number(cmos_read(DAY), status);
		now->month = number(cmos_read(MONTH), status);
		now->year = number(cmos_read(CENTURY), status) * 100 + number(cmos_read(YEAR), status);
		/* Once more when a second has begun in between. */
	} while (now->second != number(cmos_read(SECONDS), status));

	return cmos_read(STATUS_D) & BATTERY_GOOD && now->second < 60 && now->minute < 60 && now->hour < 24 &&
	       now->day >= 1 && now->day <= 31 && now->month >= 1 && now->month <= 12 && now->year >= 2000;
}
