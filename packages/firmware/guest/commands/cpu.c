/*
 * `cpu`: what CPUID, the control registers and the local APIC say (Intel SDM vol 2A "CPUID"; AMD APM vol 3,
 * appendix E). On hosts that cannot intercept CPUID these are the host's own answers.
 */
#include "commands/commands.h"
#include "console/print.h"
#include "cpu/apic.h"
#include "cpu/instructions.h"
#include "cpu/registers.h"

#define EXTENDED 0x80000000
#define BRAND_FIRST 0x80000002
#define BRAND_LAST 0x80000004
#define HYPERVISOR 0x40000000
#define HYPERVISOR_PRESENT (1u << 31)

enum output { EAX, EBX, ECX, EDX };

static const struct {
	const char *name;
	u32 leaf;
	u8 output, bit;
} features[] = {
	{ "fpu", 1, EDX, 0 }, { "tsc", 1, EDX, 4 }, { "msr", 1, EDX, 5 }, { "pae", 1, EDX, 6 }, { "apic", 1, EDX, 9 },
	{ "sse2", 1, EDX, 26 }, { "htt", 1, EDX, 28 }, { "sse4.2", 1, ECX, 20 }, { "x2apic", 1, ECX, 21 },
	{ "popcnt", 1, ECX, 23 }, { "tsc-deadline", 1, ECX, 24 }, { "aes", 1, ECX, 25 }, { "xsave", 1, ECX, 26 },
	{ "avx", 1, ECX, 28 }, { "rdrand", 1, ECX, 30 }, { "vmx", 1, ECX, 5 }, { "cx16", 1, ECX, 13 },
	{ "pcid", 1, ECX, 17 }, { "fsgsbase", 7, EBX, 0 }, { "bmi1", 7, EBX, 3 }, { "avx2", 7, EBX, 5 },
	{ "smep", 7, EBX, 7 }, { "bmi2", 7, EBX, 8 }, { "erms", 7, EBX, 9 }, { "invpcid", 7, EBX, 10 },
	{ "avx512f", 7, EBX, 16 }, { "smap", 7, EBX, 20 }, { "sha", 7, EBX, 29 }, { "svm", 0x80000001, ECX, 2 },
	{ "syscall", 0x80000001, EDX, 11 }, { "nx", 0x80000001, EDX, 20 }, { "pdpe1gb", 0x80000001, EDX, 26 },
	{ "rdtscp", 0x80000001, EDX, 27 }, { "lm", 0x80000001, EDX, 29 }, { "invariant-tsc", 0x80000007, EDX, 8 },
};

/* CPUID spells names in registers. */
static void append(char **to, u32 letters)
{
	for (u32 i = 0; i < 4; i++)
		*(*to)++ = letters >> (8 * i);
}

static void print_vendor(const char *title, u32 leaf)
{
	struct cpuid r = cpuid(leaf, 0);
	char name[13], *to = name;

	append(&to, r.ebx);
	append(&to, leaf ? r.ecx : r.edx);
	append(&to, leaf ? r.edx : r.ecx);
	*to = 0;
	print("%s%s\n", title, name);
}

static void print_brand(void)
{
	char name[49], *to = name;
	const char *from = name;

	if (cpuid(EXTENDED, 0).eax < BRAND_LAST)
		return;
	for (u32 leaf = BRAND_FIRST; leaf <= BRAND_LAST; leaf++) {
		struct cpuid r = cpuid(leaf, 0);

		append(&to, r.eax);
		append(&to, r.ebx);
		append(&to, r.ecx);
		append(&to, r.edx);
	}
	*to = 0;
	while (*from == ' ')
		from++;
	if (*from)
		print("brand       %s\n", from);
}

static void print_family(u32 eax)
{
	u32 family = eax >> 8 & 0xf, model = eax >> 4 & 0xf;

	/* The extended fields count only for the families that ran out of numbers. */
	if (family == 6 || family == 15)
		model |= eax >> 12 & 0xf0;
	if (family == 15)
		family += eax >> 20 & 0xff;
	print("family      %u, model %u, stepping %u\n", family, model, eax & 0xf);
}

static void print_features(void)
{
	u32 leaf = 0;
	u32 outputs[4] = { 0 };

	print("features   ");
	for (u32 i = 0; i < sizeof features / sizeof *features; i++) {
		if (features[i].leaf != leaf) {
			struct cpuid r = { 0 };

			leaf = features[i].leaf;
			if (cpuid(leaf & EXTENDED, 0).eax >= leaf)
				r = cpuid(leaf, 0);
			outputs[EAX] = r.eax;
			outputs[EBX] = r.ebx;
			outputs[ECX] = r.ecx;
			outputs[EDX] = r.edx;
		}
		if (outputs[features[i].output] >> features[i].bit & 1)
			print(" %s", features[i].name);
	}
	print("\n");
}

void command_cpu(char *arguments)
{
	struct cpuid version = cpuid(1, 0);
	u16 cs;

	(void)arguments;
	asm("movw %%cs, %0" : "=r"(cs));
	print_vendor("vendor      ", 0);
	print_brand();
	print_family(version.eax);
	if (version.ecx & HYPERVISOR_PRESENT)
		print_vendor("hypervisor  ", HYPERVISOR);
	print("mode        %s, CPL %u\n", read_msr(MSR_EFER) & EFER_LMA ? "64-bit" : "32-bit", cs & 3);
	print("APIC id     %u, version %02x, at %lx\n", apic_id(), apic_version(), read_msr(MSR_APIC_BASE) & ~0xffful);
	print_features();
}
