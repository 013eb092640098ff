/*
 * The first process of a sandbox: loads the modules, puts the host's root in place under a layer in memory, and runs the command.
 */
#include <linux/fcntl.h>
#include <linux/module.h>
#include <linux/mount.h>

#include "command.h"
#include "job.h"
#include "line.h"
#include "network.h"
#include "system.h"

_Noreturn void sandbox_init(void);


static const char P9[] = "trans=virtio,version=9p2000.L,msize=262144,cache=";

static void make_folder(const char *path)
{
	char parent[4096];
	size_t length = length_of(path);
	if (length >= sizeof parent)
		return;
	for (size_t i = 1; i <= length; i++) {
		if (path[i] != '/' && path[i] != 0)
			continue;
		memcpy(parent, path, i);
		parent[i] = 0;
		sys2(__NR_mkdir, parent, 0755);
	}
}

static void must_mount(const char *source, const char *at, const char *type, unsigned long flags, const char *data)
{
	long error = sys5(__NR_mount, source, at, type, flags, data);
	if (error < 0)
		fail("cannot mount ", at, error);
}

static bool is_compressed(const char *path)
{
	size_t length = length_of(path);
	return length < 3 || !equal(path + length - 3, ".ko");
}

static void load_modules(void)
{
	for (int i = 0; i < job.module_count; i++) {
		long file = sys3(__NR_open, job.modules[i], O_RDONLY | O_CLOEXEC, 0);
		int flags = is_compressed(job.modules[i]) ? MODULE_INIT_COMPRESSED_FILE : 0;
		long error = file < 0 ? file : sys3(__NR_finit_module, file, "", flags);
		if (error < 0 && error != -ERR_EXIST)
			fail("the kernel does not take the module ", job.modules[i], error);
		sys1(__NR_close, file);
		sys1(__NR_unlink, job.modules[i]);
	}
}

static void mount_share(const struct share *share, const char *at, const char *cache)
{
	char options[128];
	size_t length = sizeof P9 - 1;
	memcpy(options, P9, length);
	memcpy(options + length, cache, length_of(cache) + 1);
	must_mount(share->tag, at, "9p", share->readonly ? MS_RDONLY : 0, options);
}

/* The host's root, read-only, and over it a layer in memory that takes what is written. */
static void mount_root(void)
{
	sys2(__NR_mkdir, "/host", 0755);
	sys2(__NR_mkdir, "/layer", 0755);
	sys2(__NR_mkdir, "/root", 0755);
	mount_share(&job.shares[0], "/host", "loose");
	must_mount("layer", "/layer", "tmpfs", 0, "mode=755");
	sys2(__NR_mkdir, "/layer/upper", 0755);
	sys2(__NR_mkdir, "/layer/work", 0755);
	must_mount("sandbox", "/root", "overlay", 0, "lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work");
}

static void mount_system(void)
{
	static const char *const folders[] = {"/root/proc", "/root/sys", "/root/dev", "/root/run", "/root/tmp"};
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
		sys2(__NR_mkdir, folders[i], 0755);
	const unsigned long quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	must_mount("proc", "/root/proc", "proc", quiet, NULL);
	must_mount("sys", "/root/sys", "sysfs", quiet, NULL);
	must_mount("/dev", "/root/dev", "", MS_MOVE, NULL);
	must_mount("run", "/root/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
	must_mount("tmp", "/root/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	sys2(__NR_mkdir, "/root/dev/pts", 0755);
	sys2(__NR_mkdir, "/root/dev/shm", 01777);
	must_mount("devpts", "/root/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666");
	must_mount("shm", "/root/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	sys2(__NR_symlink, "/proc/self/fd", "/root/dev/fd");
	sys2(__NR_symlink, "/proc/self/fd/0", "/root/dev/stdin");
	sys2(__NR_symlink, "/proc/self/fd/1", "/root/dev/stdout");
	sys2(__NR_symlink, "/proc/self/fd/2", "/root/dev/stderr");
}

/* The initramfs cannot be left by pivot_root (Linux, Documentation/filesystems/ramfs-rootfs-initramfs.rst). */
static void enter_root(void)
{
	long error = sys1(__NR_chdir, "/root");
	if (error >= 0)
		error = sys5(__NR_mount, ".", "/", NULL, MS_MOVE, NULL);
	if (error >= 0)
		error = sys1(__NR_chroot, ".");
	if (error < 0)
		fail("cannot enter ", "the host's root", error);
}

static void mount_shares(void)
{
	for (int i = 1; i < job.share_count; i++) {
		make_folder(job.shares[i].path);
		mount_share(&job.shares[i], job.shares[i].path, "mmap");
	}
}

void sandbox_init(void)
{
	sys2(__NR_mkdir, "/dev", 0755);
	sys5(__NR_mount, "dev", "/dev", "devtmpfs", MS_NOSUID, "mode=755");
	/* Descriptors 0 to 2 are the command's; whatever is opened here lies above them. */
	for (long file = 0; file >= 0 && file <= 2;)
		file = sys3(__NR_open, "/dev/null", O_RDWR | O_CLOEXEC, 0);
	if (open_line() < 0)
		switch_off();
	const char *wrong = read_job();
	if (wrong != NULL)
		fail(wrong, "", 0);
	if (job.share_count == 0)
		fail("/job has no root", "", 0);
	load_modules();
	move_line_to_port();
	mount_root();
	mount_system();
	enter_root();
	mount_shares();
	sys2(__NR_sethostname, "sandbox", 7);
	set_up_network();
	run_command();
}
