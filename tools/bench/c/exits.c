/*
 * The peer of the `exits` benchmark: the least C that can run a guest which does nothing but write to one port or one
 * address. It enters the guest's bytes (read from stdin) at 1 MiB in flat 32-bit protected mode, keeps the written value
 * where a device would be, and prints how long the writes took: from the first entry to the end of the last write.
 *
 *   exits pio|mmio ADDRESS END_PORT < guest.bin     ->   {"exits":N,"ns":N}
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MEMORY_BYTES = 2 << 20, ENTRY = 1 << 20, TSS_ADDR = 0xfffbd000 };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void flat(struct kvm_segment *segment, int type, int selector)
{
	memset(segment, 0, sizeof(*segment));
	segment->limit = 0xffffffff;
	segment->selector = selector;
	segment->type = type;
	segment->present = segment->s = segment->db = segment->g = 1;
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: exits pio|mmio ADDRESS END_PORT < guest.bin\n");
		return 2;
	}
	unsigned is_pio = strcmp(argv[1], "pio") == 0;
	uint64_t address = strtoull(argv[2], NULL, 0);
	unsigned end_port = strtoul(argv[3], NULL, 0);

	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		die("/dev/kvm");
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		die("KVM_CREATE_VM");
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	if (ioctl(vm, KVM_SET_TSS_ADDR, TSS_ADDR) || ioctl(vm, KVM_CREATE_IRQCHIP, 0) || ioctl(vm, KVM_CREATE_PIT2, &pit))
		die("irqchip");

	uint8_t *memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	if (fread(memory + ENTRY, 1, MEMORY_BYTES - ENTRY, stdin) == 0)
		die("guest.bin");
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY_BYTES, .userspace_addr = (uintptr_t)memory };
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		die("KVM_SET_USER_MEMORY_REGION");

	int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		die("KVM_CREATE_VCPU");
	struct kvm_run *run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		die("kvm_run");

	struct kvm_sregs sregs;
	if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
		die("KVM_GET_SREGS");
	flat(&sregs.cs, 0xb, 0x8);
	flat(&sregs.ds, 0x3, 0x10);
	sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.ds;
	sregs.cr0 |= 1;
	struct kvm_regs regs = { .rip = ENTRY, .rflags = 2 };
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) || ioctl(vcpu, KVM_SET_REGS, &regs))
		die("registers");

	uint64_t exits = 0, first = 0, last = 0;
	volatile uint32_t latch = 0;
	for (;;) {
		if (exits == 0)
			first = now_ns();
		if (ioctl(vcpu, KVM_RUN, 0) < 0)
			die("KVM_RUN");
		if (run->exit_reason == KVM_EXIT_IO && run->io.port == end_port)
			break;
		if (is_pio && run->exit_reason == KVM_EXIT_IO && run->io.port == address) {
			latch = *((uint8_t *)run + run->io.data_offset);
		} else if (!is_pio && run->exit_reason == KVM_EXIT_MMIO && run->mmio.phys_addr == address) {
			memcpy((void *)&latch, run->mmio.data, sizeof(latch));
		} else {
			fprintf(stderr, "exit reason %u\n", run->exit_reason);
			return 1;
		}
		exits++;
		last = now_ns();
	}
	(void)latch;
	printf("{\"exits\":%llu,\"ns\":%llu}\n", (unsigned long long)exits, (unsigned long long)(last - first));
	return 0;
}
