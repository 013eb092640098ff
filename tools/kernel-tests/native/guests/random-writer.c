/*
 * Writes a word to each of some pseudo-random pages of the logged memory, again and again: between two port writes so many of them.
 * What it writes is computed on the other side as well (themes/dirty-log.ts).
 */
#define LOGGED 0x200000ul
#define LOGGED_PAGES 128
#define WRITES 24
#define PAGE 4096

static inline __attribute__((always_inline)) void out(unsigned short port, unsigned value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

void _start(void);
void _start(void)
{
	unsigned state = 1;

	for (unsigned round = 0;; round++) {
		for (unsigned i = 0; i < WRITES; i++) {
			state = state * 1664525 + 1013904223;
			*(volatile unsigned *)(LOGGED + (state >> 16) % LOGGED_PAGES * PAGE + (state >> 4 & 0xffc)) = state;
		}
		out(0x10, round);
	}
}
