/*
 * What happens on an exception (Intel SDM vol 3, 6.15).
 */
#include "cpu/exceptions.h"

#include "console/print.h"
#include "cpu/apic.h"
#include "cpu/cpu.h"
#include "cpu/instructions.h"
#include "cpu/user-mode.h"
#include "machine/power.h"

#define CPL_MASK 3

struct fixup {
	u64 fault;
	u64 resume;
};

extern const struct fixup fixups_start[], fixups_end[];

static const char *const names[] = {
	"#DE divide error", "#DB debug", "NMI", "#BP breakpoint", "#OF overflow", "#BR bound range",
	"#UD invalid opcode", "#NM no FPU", "#DF double fault", "coprocessor overrun", "#TS invalid TSS",
	"#NP segment not present", "#SS stack fault", "#GP general protection", "#PF page fault", "reserved",
	"#MF x87 error", "#AC alignment", "#MC machine check", "#XM SIMD error", "#VE virtualization",
	"#CP control protection",
};

static u64 read_cr2(void)
{
	u64 value;
	asm volatile("movq %%cr2, %0" : "=r"(value));
	return value;
}

static void __attribute__((noreturn)) crash(const struct exception *e)
{
	const char *name = e->vector < sizeof names / sizeof *names ? names[e->vector] : "reserved";

	print_break_lock();
	print("\nexception %lu (%s) on the CPU with APIC id %u\n", e->vector, name, apic_id());
	print("error %lx  cs %lx  rip %016lx  rflags %lx  cr2 %lx\n", e->error, e->cs, e->rip, e->rflags, read_cr2());
	print("rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", e->rax, e->rbx, e->rcx, e->rdx);
	print("rsi %016lx  rdi %016lx  rbp %016lx  rsp %016lx\n", e->rsi, e->rdi, e->rbp, e->rsp);
	print("r8  %016lx  r9  %016lx  r10 %016lx  r11 %016lx\n", e->r8, e->r9, e->r10, e->r11);
	print("r12 %016lx  r13 %016lx  r14 %016lx  r15 %016lx\n", e->r12, e->r13, e->r14, e->r15);
	debug_exit(CRASH_CODE);
	halt_forever();
}

void exception_handle(struct exception *e)
{
	if (e->cs & CPL_MASK)
		leave_user(this_cpu()->monitor_rsp, e->vector);
	for (const struct fixup *fixup = fixups_start; fixup < fixups_end; fixup++) {
		if (fixup->fault == e->rip) {
			e->rip = fixup->resume;
			e->rsi = e->vector;
			return;
		}
	}
	crash(e);
}
