#include "memory-file.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U // Linux 6.3
#endif

namespace kvm_binding {

namespace {

// From here to the next rule: nothing but system calls, as the child of a thread among many runs it.

int descriptor(long result) { return static_cast<int>(result); }

// fsopen(2), fsconfig(2), fsmount(2): a tmpfs that is in no mount table and ends with the last descriptor of its files.
int mount_tmpfs() {
  const int context = descriptor(syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC));
  if (context < 0) return -1;
  const bool made = syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "huge", "advise", 0) == 0 &&
                    syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "size", "0", 0) == 0 && // no limit, as a memfd
                    syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0;
  const unsigned flags = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  const int mount = made ? descriptor(syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, flags)) : -1;
  close(context);
  return mount;
}

int tmpfs_file(const char *name) {
  const int mount = mount_tmpfs();
  if (mount < 0) return -1;
  const int file = openat(mount, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file >= 0) unlinkat(mount, name, 0);
  close(mount);
  return file;
}

bool write_text(const char *path, const char *text) {
  const int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  const ssize_t length = static_cast<ssize_t>(strlen(text));
  const bool wrote = write(file, text, length) == length;
  close(file);
  return wrote;
}

// user_namespaces(7): whoever makes one may mount in it. The maps keep this user, as a file's owner has to be known there.
int tmpfs_file_of_namespace(const char *name, const char *uid_map, const char *gid_map) {
  if (!write_text("/proc/self/uid_map", uid_map)) return -1;
  if (!write_text("/proc/self/setgroups", "deny") || !write_text("/proc/self/gid_map", gid_map)) return -1;
  return tmpfs_file(name);
}

// ---

// A child that shares this process's descriptors goes into the namespaces, and leaves the file open here.
int tmpfs_file_by_child(const char *name) {
  std::array<char, 64> uid_map, gid_map;
  snprintf(uid_map.data(), uid_map.size(), "0 %u 1", geteuid());
  snprintf(gid_map.data(), gid_map.size(), "0 %u 1", getegid());
  std::array<int, 2> answer;
  if (pipe2(answer.data(), O_CLOEXEC) != 0) return -1;
  constexpr long kNoSignal = 0; // to the parent when the child ends: nobody else is to wait for it
  const long child = syscall(SYS_clone, CLONE_FILES | CLONE_NEWUSER | CLONE_NEWNS | kNoSignal, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) {
    const int file = tmpfs_file_of_namespace(name, uid_map.data(), gid_map.data());
    [[maybe_unused]] const ssize_t told = write(answer[1], &file, sizeof file);
    _exit(0);
  }
  int file = -1;
  if (child > 0) {
    while (waitpid(static_cast<pid_t>(child), nullptr, __WALL) < 0 && errno == EINTR) continue;
    fcntl(answer[0], F_SETFL, O_NONBLOCK); // a child that was killed has told nothing
    if (read(answer[0], &file, sizeof file) != static_cast<ssize_t>(sizeof file)) file = -1;
  }
  close(answer[0]);
  close(answer[1]);
  return file;
}

int sized(int file, size_t size) {
  if (file < 0 || ftruncate(file, static_cast<off_t>(size)) == 0) return file;
  const int error = errno;
  close(file);
  errno = error;
  return -1;
}

} // namespace

int memory_file(const std::string &name, size_t size) {
  int file = memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
  if (file < 0 && errno == EINVAL) file = memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  file = sized(file, size);
  // A SIGBUS for whoever reads lost pages: other processes rely on it that there are none.
  if (file < 0 || fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) return file;
  const int error = errno;
  close(file);
  errno = error;
  return -1;
}

int huge_memory_file(const std::string &name, size_t size) {
  int file = tmpfs_file(name.c_str());
  if (file < 0 && errno == EPERM) file = tmpfs_file_by_child(name.c_str());
  return sized(file, size);
}

} // namespace kvm_binding
