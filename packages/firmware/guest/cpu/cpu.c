/*
 * The task state segment and its descriptor (Intel SDM vol 3, 7.2.3 and 7.7): made when a CPU first goes to CPL3, as
 * most runs never do.
 */
#include "cpu/cpu.h"

#include "cpu/user-mode.h"
#include "machine/ports.h"

_Static_assert(offsetof(struct cpu, monitor_rsp) == CPU_MONITOR_RSP, "layout.h");
_Static_assert(offsetof(struct cpu, tss.rsp0) == CPU_TSS_RSP0, "layout.h");

u8 cpu_areas[1 + MAX_CPUS][CPU_AREA_BYTES] __attribute__((aligned(CPU_AREA_BYTES)));

extern const u64 gdt[], gdt_end[];

#define TSS_INDEX (TSS_SELECTOR / sizeof(u64))
#define TSS_PRESENT_AVAILABLE (0x89ul << 40)

void user_allow(u64 address)
{
	extern u64 page_directories[];
	const u64 user = 1 << 2;
	u64 *entry = &page_directories[address >> 21];

	if (*entry & user)
		return;
	*entry |= user;
	asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}

struct cpu *user_prepare(void)
{
	struct cpu *cpu = this_cpu();
	u64 base = (u64)&cpu->tss;
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) pointer = { sizeof cpu->gdt - 1, (u64)cpu->gdt };

	if (cpu->gdt[TSS_INDEX])
		return cpu;
	for (u32 i = 0; i < gdt_end - gdt; i++)
		cpu->gdt[i] = gdt[i];
	/* The base is split in three; its upper half, in the second word, is zero. */
	cpu->gdt[TSS_INDEX] = TSS_PRESENT_AVAILABLE | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56 |
			      (sizeof cpu->tss - 1);
	/* Not IOPL 3, which some hosts drop on the way. */
	cpu->tss.io_map_offset = offsetof(struct tss, io_map);
	for (u32 i = 0; i < sizeof cpu->tss.io_map; i++)
		cpu->tss.io_map[i] = 0xff;
	cpu->tss.io_map_end = 0xff;
	cpu->tss.io_map[TESTDEV_LATCH / 8] &= ~(1 << TESTDEV_LATCH % 8);
	asm volatile("lgdt %0; ltr %w1" : : "m"(pointer), "r"(TSS_SELECTOR) : "memory");
	return cpu;
}
