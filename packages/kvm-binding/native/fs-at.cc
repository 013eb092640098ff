#include "fs-at.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>

#include "arguments.h"
#include "error.h"

namespace kvm_binding {

namespace {

// AT_FDCWD and other negative numbers would mean a place that the caller did not open.
int arg_fd(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name = "fd") {
  const int fd = arg_i32(info, index, what, name);
  if (fd < 0) fail_invalid(info.Env(), what, std::string(name) + " is no open descriptor");
  return fd;
}

// Bytes that end before their first NUL: file names need not be UTF-8. Copied before they are looked at.
std::string arg_path(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name, size_t limit) {
  const Bytes bytes = arg_bytes(info, index, what, name);
  if (bytes.size == 0 || bytes.size > limit) {
    fail_invalid(info.Env(), what, std::string(name) + " must have 1 to " + std::to_string(limit) + " bytes");
  }
  std::string path(reinterpret_cast<const char *>(bytes.data), bytes.size);
  if (path.find('\0') != std::string::npos) fail_invalid(info.Env(), what, std::string(name) + " has a NUL in it");
  return path;
}

// One name in a directory. The calls that take one have no RESOLVE_ flags: what would lead elsewhere must not reach them.
std::string arg_name(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name) {
  std::string component = arg_path(info, index, what, name, NAME_MAX);
  if (component == "." || component == ".." || component.find('/') != std::string::npos) {
    fail_invalid(info.Env(), what, std::string(name) + " must be the name of something in the directory");
  }
  return component;
}

[[noreturn]] void fail_fd(Napi::Env env, const char *what, int fd) { fail_errno(env, what, "descriptor " + std::to_string(fd)); }

Napi::Value checked(Napi::Env env, long result, const char *what, int fd) {
  if (result < 0) fail_fd(env, what, fd);
  return Napi::Number::New(env, static_cast<double>(result));
}

// A file by its descriptor, for calls that do not take an O_PATH one. The link leads to the file itself, whatever its name is by now.
struct ProcPath {
  char text[32];
  explicit ProcPath(int fd) { std::snprintf(text, sizeof text, "/proc/self/fd/%d", fd); }
};

constexpr int kOpenTries = 1000;

// fsOpenat2(dirFd, path, flags, mode, resolve): the new descriptor, O_CLOEXEC always.
Napi::Value fs_openat2(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const int dir = arg_fd(info, 0, "openat2", "dirFd");
  const std::string path = arg_path(info, 1, "openat2", "path", PATH_MAX - 1);
  open_how how{};
  how.flags = arg_u32(info, 2, "openat2", "flags") | O_CLOEXEC;
  how.mode = arg_u32(info, 3, "openat2", "mode");
  how.resolve = arg_u32(info, 4, "openat2", "resolve");
  // With RESOLVE_BENEATH the kernel gives up with EAGAIN when anything on the host is renamed while it looks at "..".
  long fd;
  int tries = 0;
  do {
    fd = syscall(SYS_openat2, dir, path.c_str(), &how, sizeof how);
  } while (fd < 0 && errno == EAGAIN && ++tries < kOpenTries);
  return checked(env, fd, "openat2", dir);
}

// fsStatx(fd, name | null, mask, into): null asks about what the descriptor stands for.
Napi::Value fs_statx(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const int fd = arg_fd(info, 0, "statx");
  const bool itself = info[1].IsNull();
  const std::string name = itself ? "" : arg_name(info, 1, "statx", "name");
  const uint32_t mask = arg_u32(info, 2, "statx", "mask");
  const Bytes into = arg_bytes(info, 3, "statx", "into");
  if (into.size < sizeof(struct statx)) fail_invalid(env, "statx", "into is smaller than struct statx");
  struct statx status;
  const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (itself ? AT_EMPTY_PATH : 0);
  if (syscall(SYS_statx, fd, name.c_str(), flags, mask, &status) != 0) fail_fd(env, "statx", fd);
  std::memcpy(into.data, &status, sizeof status);
  return env.Undefined();
}

// fsMkdirat(dirFd, name, mode)
Napi::Value fs_mkdirat(const Napi::CallbackInfo &info) {
  const int dir = arg_fd(info, 0, "mkdirat", "dirFd");
  const std::string name = arg_name(info, 1, "mkdirat", "name");
  return checked(info.Env(), mkdirat(dir, name.c_str(), arg_u32(info, 2, "mkdirat", "mode")), "mkdirat", dir);
}

// fsMknodat(dirFd, name, mode, major, minor)
Napi::Value fs_mknodat(const Napi::CallbackInfo &info) {
  const int dir = arg_fd(info, 0, "mknodat", "dirFd");
  const std::string name = arg_name(info, 1, "mknodat", "name");
  const uint32_t mode = arg_u32(info, 2, "mknodat", "mode");
  const dev_t device = makedev(arg_u32(info, 3, "mknodat", "major"), arg_u32(info, 4, "mknodat", "minor"));
  return checked(info.Env(), mknodat(dir, name.c_str(), mode, device), "mknodat", dir);
}

// fsSymlinkat(target, dirFd, name): the target is text, which nobody looks up here.
Napi::Value fs_symlinkat(const Napi::CallbackInfo &info) {
  const std::string target = arg_path(info, 0, "symlinkat", "target", PATH_MAX - 1);
  const int dir = arg_fd(info, 1, "symlinkat", "dirFd");
  const std::string name = arg_name(info, 2, "symlinkat", "name");
  return checked(info.Env(), symlinkat(target.c_str(), dir, name.c_str()), "symlinkat", dir);
}

// fsReadlinkat(fd, into): bytes of the target of the symbolic link that an O_PATH descriptor stands for.
Napi::Value fs_readlinkat(const Napi::CallbackInfo &info) {
  const int fd = arg_fd(info, 0, "readlinkat");
  const Bytes into = arg_bytes(info, 1, "readlinkat", "into");
  return checked(info.Env(), readlinkat(fd, "", reinterpret_cast<char *>(into.data), into.size), "readlinkat", fd);
}

// fsLinkat(fd, dirFd, name): one more name for the file behind a descriptor, a symbolic link included.
Napi::Value fs_linkat(const Napi::CallbackInfo &info) {
  const int fd = arg_fd(info, 0, "linkat");
  const int dir = arg_fd(info, 1, "linkat", "dirFd");
  const std::string name = arg_name(info, 2, "linkat", "name");
  return checked(info.Env(), linkat(AT_FDCWD, ProcPath(fd).text, dir, name.c_str(), AT_SYMLINK_FOLLOW), "linkat", fd);
}

// fsUnlinkat(dirFd, name, directory)
Napi::Value fs_unlinkat(const Napi::CallbackInfo &info) {
  const int dir = arg_fd(info, 0, "unlinkat", "dirFd");
  const std::string name = arg_name(info, 1, "unlinkat", "name");
  const bool directory = arg_bool(info, 2, "unlinkat", "directory");
  return checked(info.Env(), unlinkat(dir, name.c_str(), directory ? AT_REMOVEDIR : 0), "unlinkat", dir);
}

// fsRenameat2(fromDirFd, fromName, toDirFd, toName, flags)
Napi::Value fs_renameat2(const Napi::CallbackInfo &info) {
  const int from = arg_fd(info, 0, "renameat2", "fromDirFd");
  const std::string old_name = arg_name(info, 1, "renameat2", "fromName");
  const int to = arg_fd(info, 2, "renameat2", "toDirFd");
  const std::string new_name = arg_name(info, 3, "renameat2", "toName");
  const uint32_t flags = arg_u32(info, 4, "renameat2", "flags");
  return checked(info.Env(), syscall(SYS_renameat2, from, old_name.c_str(), to, new_name.c_str(), flags), "renameat2", from);
}

// fsFchmod(fd, mode)
Napi::Value fs_fchmod(const Napi::CallbackInfo &info) {
  const int fd = arg_fd(info, 0, "fchmod");
  return checked(info.Env(), chmod(ProcPath(fd).text, arg_u32(info, 1, "fchmod", "mode")), "fchmod", fd);
}

// fsFchownat(fd, uid, gid): 0xffffffff leaves one as it is.
Napi::Value fs_fchownat(const Napi::CallbackInfo &info) {
  const int fd = arg_fd(info, 0, "fchownat");
  const uint32_t uid = arg_u32(info, 1, "fchownat", "uid");
  const uint32_t gid = arg_u32(info, 2, "fchownat", "gid");
  return checked(info.Env(), fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW), "fchownat", fd);
}

// fsUtimensat(fd, atimeSec, atimeNsec, mtimeSec, mtimeNsec): UTIME_NOW and UTIME_OMIT as nanoseconds.
Napi::Value fs_utimensat(const Napi::CallbackInfo &info) {
  const int fd = arg_fd(info, 0, "utimensat");
  const timespec times[2] = {
      {arg_i64(info, 1, "utimensat", "atimeSec"), arg_u32(info, 2, "utimensat", "atimeNsec")},
      {arg_i64(info, 3, "utimensat", "mtimeSec"), arg_u32(info, 4, "utimensat", "mtimeNsec")},
  };
  return checked(info.Env(), syscall(SYS_utimensat, fd, "", times, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW), "utimensat", fd);
}

// fsGetdents64(fd, offset | null, into): bytes of struct linux_dirent64 records; null goes on where the last call ended.
Napi::Value fs_getdents64(const Napi::CallbackInfo &info) {
  const int fd = arg_fd(info, 0, "getdents64");
  const Bytes into = arg_bytes(info, 2, "getdents64", "into");
  if (into.size > std::numeric_limits<int32_t>::max()) fail_invalid(info.Env(), "getdents64", "into is larger than the call can take");
  if (!info[1].IsNull()) {
    if (lseek(fd, arg_i64(info, 1, "getdents64", "offset"), SEEK_SET) < 0) fail_fd(info.Env(), "lseek", fd);
  }
  return checked(info.Env(), syscall(SYS_getdents64, fd, into.data, into.size), "getdents64", fd);
}

// fsGetxattr(fd, name, into): bytes of the value; an empty buffer only asks how many.
Napi::Value fs_getxattr(const Napi::CallbackInfo &info) {
  const int fd = arg_fd(info, 0, "getxattr");
  const std::string name = arg_path(info, 1, "getxattr", "name", XATTR_NAME_MAX);
  const Bytes into = arg_bytes(info, 2, "getxattr", "into");
  return checked(info.Env(), getxattr(ProcPath(fd).text, name.c_str(), into.data, into.size), "getxattr", fd);
}

// fsListxattr(fd, into): bytes of the names, each ended by NUL.
Napi::Value fs_listxattr(const Napi::CallbackInfo &info) {
  const int fd = arg_fd(info, 0, "listxattr");
  const Bytes into = arg_bytes(info, 1, "listxattr", "into");
  return checked(info.Env(), listxattr(ProcPath(fd).text, reinterpret_cast<char *>(into.data), into.size), "listxattr", fd);
}

// fsSetxattr(fd, name, value, flags)
Napi::Value fs_setxattr(const Napi::CallbackInfo &info) {
  const int fd = arg_fd(info, 0, "setxattr");
  const std::string name = arg_path(info, 1, "setxattr", "name", XATTR_NAME_MAX);
  const Bytes value = arg_bytes(info, 2, "setxattr", "value");
  const int flags = arg_i32(info, 3, "setxattr", "flags");
  return checked(info.Env(), setxattr(ProcPath(fd).text, name.c_str(), value.data, value.size, flags), "setxattr", fd);
}

// fsRemovexattr(fd, name)
Napi::Value fs_removexattr(const Napi::CallbackInfo &info) {
  const int fd = arg_fd(info, 0, "removexattr");
  const std::string name = arg_path(info, 1, "removexattr", "name", XATTR_NAME_MAX);
  return checked(info.Env(), removexattr(ProcPath(fd).text, name.c_str()), "removexattr", fd);
}

// fsFstatfs(fd): [type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen]
Napi::Value fs_fstatfs(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const int fd = arg_fd(info, 0, "fstatfs");
  struct statfs status;
  if (fstatfs(fd, &status) != 0) fail_fd(env, "fstatfs", fd);
  uint64_t fsid;
  static_assert(sizeof fsid == sizeof status.f_fsid);
  std::memcpy(&fsid, &status.f_fsid, sizeof fsid);
  const uint64_t fields[] = {
      static_cast<uint64_t>(status.f_type), static_cast<uint64_t>(status.f_bsize), status.f_blocks, status.f_bfree, status.f_bavail,
      status.f_files, status.f_ffree, fsid, static_cast<uint64_t>(status.f_namelen),
  };
  Napi::Array out = Napi::Array::New(env, std::size(fields));
  for (uint32_t i = 0; i < std::size(fields); i++) out.Set(i, Napi::BigInt::New(env, fields[i]));
  return out;
}

} // namespace

void init_fs_at(Napi::Env env, Napi::Object exports) {
  const auto set = [&](const char *name, Napi::Value (*call)(const Napi::CallbackInfo &)) {
    exports.Set(name, Napi::Function::New(env, call, name));
  };
  set("fsOpenat2", fs_openat2);
  set("fsStatx", fs_statx);
  set("fsMkdirat", fs_mkdirat);
  set("fsMknodat", fs_mknodat);
  set("fsSymlinkat", fs_symlinkat);
  set("fsReadlinkat", fs_readlinkat);
  set("fsLinkat", fs_linkat);
  set("fsUnlinkat", fs_unlinkat);
  set("fsRenameat2", fs_renameat2);
  set("fsFchmod", fs_fchmod);
  set("fsFchownat", fs_fchownat);
  set("fsUtimensat", fs_utimensat);
  set("fsGetdents64", fs_getdents64);
  set("fsGetxattr", fs_getxattr);
  set("fsListxattr", fs_listxattr);
  set("fsSetxattr", fs_setxattr);
  set("fsRemovexattr", fs_removexattr);
  set("fsFstatfs", fs_fstatfs);
}

} // namespace kvm_binding
