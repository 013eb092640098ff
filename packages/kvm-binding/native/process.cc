#include "process.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "arguments.h"
#include "error.h"
#include "handle.h"
#include "memory.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

namespace kvm_binding {

namespace {

// Another process's memory file, mapped to be looked at.
struct FileState : Extension {
  std::shared_ptr<Mapping> mapping;
};

// pidfdGetfd(pid, fd, kind): a duplicate of another process's descriptor (needs ptrace rights over it).
Napi::Value pidfd_getfd(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const int pid = arg_i32(info, 0, "pidfd_getfd", "pid");
  const int fd = arg_i32(info, 1, "pidfd_getfd", "fd");
  const uint32_t kind = arg_u32(info, 2, "pidfd_getfd", "kind");
  constexpr uint32_t allowed = Kind::Stats | Kind::File;
  if (kind == 0 || (kind & (kind - 1)) != 0 || (kind & allowed) == 0) {
    fail_invalid(env, "pidfd_getfd", "only stats and file descriptors can be taken");
  }
  const long process = syscall(SYS_pidfd_open, pid, 0);
  if (process < 0) fail_errno(env, "pidfd_open", "process " + std::to_string(pid));
  const long number = syscall(SYS_pidfd_getfd, static_cast<int>(process), fd, 0);
  const int error = errno;
  close(static_cast<int>(process));
  if (number < 0) {
    errno = error;
    fail_errno(env, "pidfd_getfd", "descriptor " + std::to_string(fd) + " of process " + std::to_string(pid));
  }
  return wrap(env, std::make_shared<Fd>(static_cast<int>(number), static_cast<Kind>(kind)));
}

// fileRead(handle, into, offset): pread(2). Returns bytes.
Napi::Value file_read(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &file = unwrap(env, info[0], Kind::Stats | Kind::File, "pread");
  const Bytes into = arg_bytes(info, 1, "pread", "into");
  const int64_t offset = arg_i64(info, 2, "pread", "offset");
  if (offset < 0) fail_invalid(env, "pread", "offset is negative");
  ssize_t length;
  do {
    length = pread(file->number, into.data, into.size, offset);
  } while (length < 0 && errno == EINTR);
  if (length < 0) fail_errno(env, "pread");
  return Napi::Number::New(env, static_cast<double>(length));
}

// sealedOpen(path): opens a memory file read-only and maps it. It must be sealed against shrinking, so that nobody can take pages
// away under the mapping.
Napi::Value sealed_open(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const std::string path = arg_string(info, 0, "open", "path");
  // Without a writer a FIFO would wait here, and a device may do anything: nothing but a memfd has seals, so look before reading.
  const int number = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (number < 0) fail_errno(env, "open", path);
  auto fd = std::make_shared<Fd>(number, Kind::File);
  const int seals = fcntl(number, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) fail_invalid(env, "open", path + " is not a memory file sealed against shrinking");
  struct stat status;
  if (fstat(number, &status) != 0) fail_errno(env, "fstat", path);
  if (status.st_size <= 0) fail_invalid(env, "open", path + " is empty");
  auto state = std::make_shared<FileState>();
  struct statfs where;
  if (fstatfs(number, &where) != 0) fail_errno(env, "fstatfs", path);
  if (where.f_type != TMPFS_MAGIC) fail_invalid(env, "open", path + " is not plain memory"); // a huge page may be missing when it is touched
  state->mapping = Mapping::make(number, static_cast<size_t>(status.st_size), PROT_READ);
  if (state->mapping == nullptr) fail_errno(env, "mmap", path);
  fd->extension = state;
  return wrap(env, std::move(fd));
}

const Mapping &mapping_of(Napi::Env env, napi_value value, const char *what) {
  const FdRef &fd = unwrap(env, value, Kind::Memory | Kind::File, what);
  if (fd->kind == Kind::Memory) return *memory_of(fd).native;
  if (fd->extension == nullptr) fail_invalid(env, what, "the file is not mapped");
  return *static_cast<FileState &>(*fd->extension).mapping;
}

// mappedSize(handle)
Napi::Value mapped_size(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), static_cast<double>(mapping_of(info.Env(), info[0], "mapped").size));
}

// mappedBytes(handle, offset, into): a copy. For text and 32-bit fields.
Napi::Value mapped_bytes(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const Mapping &mapping = mapping_of(env, info[0], "mapped");
  const uint64_t offset = arg_u64(info, 1, "mapped", "offset");
  const Bytes into = arg_bytes(info, 2, "mapped", "into");
  if (!mapping.holds(offset, into.size)) fail_invalid(env, "mapped", "the range is outside the mapping");
  if (into.size != 0) std::memcpy(into.data, mapping.base + offset, into.size);
  return env.Undefined();
}

// mappedDoubles(handle, offset, into): 64-bit counters as doubles, each read in one piece while its writer goes on. Pages that nobody has
// written yet read as zeros without being touched: a look through the mapping would make the kernel allocate them.
Napi::Value mapped_doubles(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &fd = unwrap(env, info[0], Kind::Memory | Kind::File, "mapped");
  const Mapping &mapping = mapping_of(env, info[0], "mapped");
  const uint64_t offset = arg_u64(info, 1, "mapped", "offset");
  const Elements<double> into = arg_doubles(info, 2, "mapped", "into");
  const uint64_t length = into.count * sizeof(uint64_t);
  if (offset % 8 != 0 || !mapping.holds(offset, length)) {
    fail_invalid(env, "mapped", "the range is outside the mapping or not on a word boundary");
  }
  const uint64_t end = offset + length;
  uint64_t at = offset;
  while (at < end) {
    const off_t data = lseek(fd->number, static_cast<off_t>(at), SEEK_DATA);
    const uint64_t from = data < 0 ? end : std::min(end, static_cast<uint64_t>(data));
    for (; at < from; at += 8) into.data[(at - offset) / 8] = 0;
    if (at >= end) break;
    const off_t hole = lseek(fd->number, static_cast<off_t>(at), SEEK_HOLE);
    const uint64_t until = hole < 0 ? end : std::clamp<uint64_t>(static_cast<uint64_t>(hole) & ~7ULL, at + 8, end);
    for (; at < until; at += 8) {
      const auto *const word = reinterpret_cast<const uint64_t *>(mapping.base + at);
      into.data[(at - offset) / 8] = static_cast<double>(__atomic_load_n(word, __ATOMIC_RELAXED));
    }
  }
  return env.Undefined();
}

} // namespace

void init_process(Napi::Env env, Napi::Object exports) {
  exports.Set("pidfdGetfd", Napi::Function::New(env, pidfd_getfd, "pidfdGetfd"));
  exports.Set("fileRead", Napi::Function::New(env, file_read, "fileRead"));
  exports.Set("sealedOpen", Napi::Function::New(env, sealed_open, "sealedOpen"));
  exports.Set("mappedSize", Napi::Function::New(env, mapped_size, "mappedSize"));
  exports.Set("mappedBytes", Napi::Function::New(env, mapped_bytes, "mappedBytes"));
  exports.Set("mappedDoubles", Napi::Function::New(env, mapped_doubles, "mappedDoubles"));
}

} // namespace kvm_binding
