/*
 * Ioctls of KVM as no sane caller makes them, for the theme "boundaries": the binding would refuse them before the kernel could.
 * Answers are lines on stdout, one for each argument; a status other than 0 means that the test itself could not be set up.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 200, PAGE = 4096, HEAD_START_US = 50000 };

static int kvm, vm, vcpu;

static void need(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(3);
}

static void open_all(void)
{
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	need(kvm >= 0, "/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	need(vm >= 0, "KVM_CREATE_VM");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	need(vcpu >= 0, "KVM_CREATE_VCPU");
}

static int target(const char *name)
{
	return !strcmp(name, "kvm") ? kvm : !strcmp(name, "vm") ? vm : vcpu;
}

/* The name of the error, or "OK". */
static const char *call(int fd, unsigned long request, unsigned long argument)
{
	return ioctl(fd, request, argument) < 0 ? strerrorname_np(errno) : "OK";
}

/* The last byte of a buffer lies in a page that is not there. */
static unsigned long across_the_edge(unsigned long before)
{
	char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(pages != MAP_FAILED, "mmap");
	need(munmap(pages + PAGE, PAGE) == 0, "munmap");
	return (unsigned long)pages + PAGE - before;
}

static void in_another_process(int fd, unsigned long request, unsigned long argument)
{
	fflush(stdout);
	pid_t child = fork();
	need(child >= 0, "fork");
	if (child == 0) {
		puts(call(fd, request, argument));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static pthread_barrier_t start;

static void together(void *(*body)(void *), void *results[THREADS])
{
	pthread_t threads[THREADS];
	pthread_barrier_init(&start, NULL, THREADS);
	for (long i = 0; i < THREADS; i++)
		need(pthread_create(&threads[i], NULL, body, (void *)i) == 0, "pthread_create");
	for (long i = 0; i < THREADS; i++)
		pthread_join(threads[i], &results[i]);
}

static void *make_vcpu_7(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&start);
	return (void *)(ioctl(vm, KVM_CREATE_VCPU, 7) >= 0 ? "OK" : strerrorname_np(errno));
}

/* Each thread adds and deletes a slot of its own; all want the same guest-physical page. */
static void *fight_for_a_page(void *number)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = {
		.slot = (long)number, .guest_phys_addr = 0x100000, .userspace_addr = (unsigned long)page,
	};
	pthread_barrier_wait(&start);
	for (int round = 0; round < ROUNDS; round++) {
		region.memory_size = PAGE;
		if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0) {
			region.memory_size = 0;
			if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) != 0)
				return (void *)strerrorname_np(errno);
		} else if (errno != EEXIST)
			return (void *)strerrorname_np(errno);
	}
	return "OK";
}

static void *lines_and_routes(void *number)
{
	struct { struct kvm_irq_routing head; struct kvm_irq_routing_entry entry; } routes = {
		.head = { .nr = 1 },
		.entry = { .gsi = (long)number, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { KVM_IRQCHIP_IOAPIC, 4 } },
	};
	struct kvm_irq_level line = { .irq = (long)number };
	pthread_barrier_wait(&start);
	for (int round = 0; round < ROUNDS; round++) {
		line.level = round & 1;
		if (ioctl(vm, KVM_IRQ_LINE, &line) != 0)
			return (void *)strerrorname_np(errno);
		if (((long)number & 3) == 0 && round % 20 == 0 && ioctl(vm, KVM_SET_GSI_ROUTING, &routes) != 0)
			return (void *)strerrorname_np(errno);
	}
	return "OK";
}

static void race(void *(*body)(void *))
{
	void *results[THREADS];
	together(body, results);
	for (int i = 0; i < THREADS; i++)
		printf("%s%c", (char *)results[i], i == THREADS - 1 ? '\n' : ' ');
}

static volatile int regs_read, running_ended;

static void *run_endlessly(void *unused)
{
	(void)unused;
	ioctl(vcpu, KVM_RUN, 0);
	running_ended = 1;
	return NULL;
}

static void *read_regs(void *unused)
{
	struct kvm_regs regs;
	(void)unused;
	ioctl(vcpu, KVM_GET_REGS, &regs);
	regs_read = 1;
	return NULL;
}

static void nothing(int signal)
{
	(void)signal;
}

/* The vCPU is one thread's at a time: another one's ioctl waits until KVM_RUN has returned. */
static void ioctl_beside_run(void)
{
	unsigned char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = { .memory_size = PAGE, .userspace_addr = (unsigned long)page };
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rflags = 2 };
	pthread_t runner, reader;
	int waited;

	memcpy(page, "\xeb\xfe", 2); /* jmp . */
	need(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0, "memory");
	need(ioctl(vcpu, KVM_GET_SREGS, &sregs) == 0, "sregs");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	need(ioctl(vcpu, KVM_SET_SREGS, &sregs) == 0 && ioctl(vcpu, KVM_SET_REGS, &regs) == 0, "regs");
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = nothing }, NULL);
	need(pthread_create(&runner, NULL, run_endlessly, NULL) == 0, "pthread_create");
	usleep(HEAD_START_US);
	need(pthread_create(&reader, NULL, read_regs, NULL) == 0, "pthread_create");
	usleep(HEAD_START_US);
	waited = !regs_read && !running_ended;
	while (!running_ended) {
		pthread_kill(runner, SIGUSR1);
		usleep(1000);
	}
	pthread_join(reader, NULL);
	pthread_join(runner, NULL);
	puts(waited ? "waited" : "did not wait");
}

/* The hypervisor below this host by its CPUID signature; empty on bare metal. */
static void hypervisor(void)
{
	unsigned eax, ebx, ecx, edx;
	char name[13] = "";
	__cpuid(1, eax, ebx, ecx, edx);
	if (ecx & 1u << 31) {
		__cpuid(0x40000000, eax, ebx, ecx, edx);
		memcpy(name, &ebx, 4);
		memcpy(name + 4, &ecx, 4);
		memcpy(name + 8, &edx, 4);
	}
	puts(name);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	if (!strcmp(what, "hypervisor"))
		return hypervisor(), 0;
	open_all();
	if ((!strcmp(what, "call") || !strcmp(what, "fork") || !strcmp(what, "edge")) && argc >= 5) {
		int fd = target(argv[2]);
		unsigned long request = strtoul(argv[3], NULL, 0);
		for (int i = 4; i < argc; i++) {
			unsigned long argument = strtoul(argv[i], NULL, 0);
			if (!strcmp(what, "fork"))
				in_another_process(fd, request, argument);
			else
				puts(call(fd, request, !strcmp(what, "edge") ? across_the_edge(argument) : argument));
		}
	} else if (!strcmp(what, "edges")) {
		/* Pairs of target and request, with two bytes of memory for each. */
		for (int i = 2; i + 1 < argc; i += 2)
			puts(call(target(argv[i]), strtoul(argv[i + 1], NULL, 0), across_the_edge(2)));
	} else if (!strcmp(what, "race-vcpu"))
		race(make_vcpu_7);
	else if (!strcmp(what, "race-slots"))
		race(fight_for_a_page);
	else if (!strcmp(what, "race-lines")) {
		vm = ioctl(kvm, KVM_CREATE_VM, 0);
		need(ioctl(vm, KVM_CREATE_IRQCHIP, 0) == 0, "KVM_CREATE_IRQCHIP");
		race(lines_and_routes);
	} else if (!strcmp(what, "ioctl-beside-run"))
		ioctl_beside_run();
	else
		return 2;
	return 0;
}
