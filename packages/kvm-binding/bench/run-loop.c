/*
 * The same guest and the same loop as run-cost.mjs with nothing around the ioctl: what KVM_RUN itself costs here.
 * Prints "nanoseconds per KVM_RUN" for `pio` (out 0x10, al; jmp back) or `immediate` (immediate_exit set: in and out again).
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv) {
	const int immediate = argc > 1 && !strcmp(argv[1], "immediate");
	const long count = argc > 2 ? atol(argv[2]) : 100000;
	static const unsigned char code[] = {0xe6, 0x10, 0xeb, 0xfc};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	unsigned char *ram = mmap(0, 0x100000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memcpy(ram + 0x1000, code, sizeof code);
	struct kvm_userspace_memory_region region = {.memory_size = 0x100000, .userspace_addr = (unsigned long)ram};
	ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
	int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	struct kvm_run *run = mmap(0, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	struct kvm_sregs sregs;
	ioctl(vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.base = sregs.cs.selector = 0;
	ioctl(vcpu, KVM_SET_SREGS, &sregs);
	struct kvm_regs regs = {.rip = 0x1000, .rflags = 2};
	ioctl(vcpu, KVM_SET_REGS, &regs);
	volatile long sum = 0;
	double start = 0;
	for (long i = -count / 10; i < count; i++) {
		if (i == 0) start = now();
		run->immediate_exit = immediate;
		if (ioctl(vcpu, KVM_RUN, 0) == 0) sum += run->io.port + ((unsigned char *)run)[run->io.data_offset];
	}
	printf("%.1f\n", (now() - start) / count);
	return 0;
}
