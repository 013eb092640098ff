#include "host-file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include <cerrno>
#include <limits>

#include "arguments.h"
#include "error.h"

namespace kvm_binding {

namespace {

struct Range {
  int64_t offset;
  int64_t length;
};

Range arg_range(const Napi::CallbackInfo &info, size_t index, const char *what) {
  const int64_t offset = arg_i64(info, index, what, "offsetBytes");
  const int64_t length = arg_i64(info, index + 1, what, "lengthBytes");
  if (offset < 0 || length <= 0 || length > std::numeric_limits<int64_t>::max() - offset) {
    fail_invalid(info.Env(), what, "a range begins at 0 or later and has at least one byte");
  }
  return {offset, length};
}

// fallocate(2) over what is there: never lengthens a file and never reserves space behind its end.
Napi::Value allocate(const Napi::CallbackInfo &info, int mode) {
  Napi::Env env = info.Env();
  const int fd = arg_i32(info, 0, "fallocate", "fd");
  const Range range = arg_range(info, 1, "fallocate");
  struct stat status;
  if (fstat(fd, &status) != 0) fail_errno(env, "fstat", "descriptor " + std::to_string(fd));
  if (S_ISREG(status.st_mode) && range.offset + range.length > status.st_size) {
    fail_invalid(env, "fallocate", "the range reaches beyond the file's " + std::to_string(status.st_size) + " bytes");
  }
  int result;
  do {
    result = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, range.offset, range.length);
  } while (result != 0 && errno == EINTR);
  if (result != 0) fail_errno(env, "fallocate", "descriptor " + std::to_string(fd));
  return env.Undefined();
}

// filePunchHole(fd, offset, length)
Napi::Value file_punch_hole(const Napi::CallbackInfo &info) { return allocate(info, FALLOC_FL_PUNCH_HOLE); }

// fileZeroRange(fd, offset, length)
Napi::Value file_zero_range(const Napi::CallbackInfo &info) { return allocate(info, FALLOC_FL_ZERO_RANGE); }

struct flock lock_of(const Range &range, short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = range.offset;
  lock.l_len = range.length;
  return lock; // l_pid stays 0, as open file description locks want it
}

// fileLock(fd, exclusive, offset, length): whether the lock was got; never waits. It belongs to the open file, not to the process.
Napi::Value file_lock(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const int fd = arg_i32(info, 0, "F_OFD_SETLK", "fd");
  const bool exclusive = arg_bool(info, 1, "F_OFD_SETLK", "exclusive");
  struct flock lock = lock_of(arg_range(info, 2, "F_OFD_SETLK"), exclusive ? F_WRLCK : F_RDLCK);
  if (fcntl(fd, F_OFD_SETLK, &lock) == 0) return Napi::Boolean::New(env, true);
  if (errno == EAGAIN || errno == EACCES) return Napi::Boolean::New(env, false);
  fail_errno(env, "F_OFD_SETLK", "descriptor " + std::to_string(fd));
}

// fileLocked(fd, offset, length): whether another open file holds a lock, of either type, on some of these bytes.
Napi::Value file_locked(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const int fd = arg_i32(info, 0, "F_OFD_GETLK", "fd");
  struct flock lock = lock_of(arg_range(info, 1, "F_OFD_GETLK"), F_WRLCK);
  if (fcntl(fd, F_OFD_GETLK, &lock) != 0) fail_errno(env, "F_OFD_GETLK", "descriptor " + std::to_string(fd));
  return Napi::Boolean::New(env, lock.l_type != F_UNLCK);
}

} // namespace

void init_host_file(Napi::Env env, Napi::Object exports) {
  exports.Set("filePunchHole", Napi::Function::New(env, file_punch_hole, "filePunchHole"));
  exports.Set("fileZeroRange", Napi::Function::New(env, file_zero_range, "fileZeroRange"));
  exports.Set("fileLock", Napi::Function::New(env, file_lock, "fileLock"));
  exports.Set("fileLocked", Napi::Function::New(env, file_locked, "fileLocked"));
}

} // namespace kvm_binding
