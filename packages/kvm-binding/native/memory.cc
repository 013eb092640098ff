#include "memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>

#include "arguments.h"
#include "error.h"
#include "memory-file.h"

namespace kvm_binding {

namespace {

// Holds a second JavaScript SharedArrayBuffer over the same bytes (a structured clone), so that the bytes outlive the buffer that
// user code sees: when the last of that is collected, the handle's finalizer runs while the bytes are still V8's to keep,
// takes the file out from under them (~MemoryState), and only then lets this one go. Freed memory is never the file's.
struct KeeperPin : Pin {
  napi_env env;
  napi_ref reference = nullptr;
  ~KeeperPin() override {
    if (reference != nullptr) napi_delete_reference(env, reference);
  }
};

std::unique_ptr<Pin> pin_keeper(const Napi::CallbackInfo &info, size_t index) {
  auto pin = std::make_unique<KeeperPin>();
  pin->env = info.Env();
  if (napi_create_reference(info.Env(), info[index], 1, &pin->reference) != napi_ok) throw Napi::Error::New(info.Env());
  return pin;
}

// memoryMisalignment(view, boundary): how far the view's first byte is past a multiple of `boundary` bytes.
Napi::Value memory_misalignment(const Napi::CallbackInfo &info) {
  const Bytes view = arg_bytes(info, 0, "GuestMemory", "view");
  const uint32_t boundary = arg_u32(info, 1, "GuestMemory", "boundary");
  if (boundary == 0) fail_invalid(info.Env(), "GuestMemory", "no boundary is a multiple of 0");
  return Napi::Number::New(info.Env(), static_cast<double>(reinterpret_cast<uintptr_t>(view.data) % boundary));
}

// memoryCreate(view, name, huge): puts a new file of memory of the view's size under the view, which lies page-aligned in a
// SharedArrayBuffer; of huge pages where `huge` and the host can.
Napi::Value memory_create(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const Bytes view = arg_bytes(info, 0, "GuestMemory", "view");
  const std::string name = arg_string(info, 1, "GuestMemory", "name", 200);
  const bool huge = arg_bool(info, 2, "GuestMemory", "hugePages");
  if (!view.shared) fail_invalid(env, "GuestMemory", "the view must be over a SharedArrayBuffer");
  if (view.size == 0 || view.size % kPageBytes != 0 || reinterpret_cast<uintptr_t>(view.data) % kPageBytes != 0) {
    fail_invalid(env, "GuestMemory", "the view must be whole pages");
  }
  int number = huge ? huge_memory_file(name, view.size) : -1;
  if (number < 0) number = memory_file(name, view.size);
  if (number < 0) fail_errno(env, "memfd_create", name + " of " + std::to_string(view.size) + " bytes");
  auto fd = std::make_shared<Fd>(number, Kind::Memory);
  auto state = std::make_shared<MemoryState>();
  state->size = view.size;
  state->native = Mapping::make(number, view.size, PROT_READ | PROT_WRITE);
  if (state->native == nullptr) fail_errno(env, "mmap", std::to_string(view.size) + " bytes of guest memory");
  auto pin = pin_keeper(info, 0);
  if (mmap(view.data, view.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, number, 0) == MAP_FAILED) {
    fail_errno(env, "mmap", std::to_string(view.size) + " bytes over the SharedArrayBuffer");
  }
  if (huge) {
    madvise(state->native->base, view.size, MADV_HUGEPAGE);
    madvise(view.data, view.size, MADV_HUGEPAGE);
  }
  state->view = view.data;
  fd->extension = state;
  return wrap(env, std::move(fd), std::move(pin));
}

// memoryAttach(token, view): `view` is this thread's own view of the bytes that memoryCreate mapped.
Napi::Value memory_attach(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef fd = unwrap(env, info[0], Kind::Memory, "GuestMemory.attach");
  const Bytes view = arg_bytes(info, 1, "GuestMemory.attach", "view");
  const MemoryState &state = memory_of(fd);
  if (view.data != state.view || view.size != state.size) {
    fail_invalid(env, "GuestMemory.attach", "the buffer is not the one this memory was shared with");
  }
  return wrap(env, fd, pin_keeper(info, 1));
}

// memoryTransfer(memory, fd, write, fileOffset | null, segments, count): preadv/pwritev between a file and guest memory, or with no offset
// readv/writev (taps, sockets, pipes). `segments` is pairs of offset and length in bytes. Returns the bytes moved; -EAGAIN from a
// descriptor that does not block.
Napi::Value memory_transfer(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &fd = unwrap(env, info[0], Kind::Memory, "preadv/pwritev");
  const int file = arg_i32(info, 1, "preadv/pwritev", "fd");
  const bool write = arg_bool(info, 2, "preadv/pwritev", "write");
  const bool stream = info[3].IsNull();
  const char *what = stream ? (write ? "writev" : "readv") : write ? "pwritev" : "preadv";
  const int64_t file_offset = stream ? 0 : arg_i64(info, 3, what, "fileOffset");
  const Elements<double> segments = arg_doubles(info, 4, what, "segments");
  const uint32_t count = arg_u32(info, 5, what, "count");
  const MemoryState &state = memory_of(fd);
  constexpr size_t kMaxSegments = 1024; // IOV_MAX
  if (count > kMaxSegments) fail_invalid(env, what, "more than 1024 segments in one call");
  if (static_cast<size_t>(count) * 2 > segments.count) fail_invalid(env, what, "count is more than the segments given");
  if (file_offset < 0) fail_invalid(env, what, "fileOffset is negative");
  std::array<iovec, kMaxSegments> vectors;
  for (size_t i = 0; i < count; i++) {
    const double offset = segments.data[2 * i];
    const double length = segments.data[2 * i + 1];
    const double size = static_cast<double>(state.size);
    if (!(offset >= 0 && offset <= size) || !(length >= 0 && length <= size - offset) || offset != std::trunc(offset) ||
        length != std::trunc(length)) {
      fail_invalid(env, what, "segment " + std::to_string(i) + " is outside the memory's " + std::to_string(state.size) + " bytes");
    }
    vectors[i] = {state.native->base + static_cast<size_t>(offset), static_cast<size_t>(length)};
  }
  ssize_t moved;
  do {
    const int n = static_cast<int>(count);
    if (stream) {
      moved = write ? writev(file, vectors.data(), n) : readv(file, vectors.data(), n);
    } else {
      moved = write ? pwritev(file, vectors.data(), n, file_offset) : preadv(file, vectors.data(), n, file_offset);
    }
  } while (moved < 0 && errno == EINTR);
  if (moved < 0 && errno == EAGAIN) return Napi::Number::New(env, -EAGAIN);
  if (moved < 0) fail_errno(env, what, "descriptor " + std::to_string(file));
  return Napi::Number::New(env, static_cast<double>(moved));
}

// memoryDiscard(memory, offset, length): gives the pages back to the host; they read as zeros afterwards.
Napi::Value memory_discard(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &fd = unwrap(env, info[0], Kind::Memory, "fallocate");
  const uint64_t offset = arg_u64(info, 1, "fallocate", "offsetBytes");
  const uint64_t length = arg_u64(info, 2, "fallocate", "lengthBytes");
  if (!memory_of(fd).native->holds(offset, length) || length == 0) fail_invalid(env, "fallocate", "the range is outside the memory");
  if (fallocate(fd->number, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
    fail_errno(env, "fallocate");
  }
  return env.Undefined();
}

} // namespace

MemoryState::~MemoryState() {
  // Views that user code still holds read zeros from here on, and V8 gets back plain memory to free.
  if (view != nullptr) {
    mmap(view, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
  }
}

MemoryState &memory_of(const FdRef &fd) { return static_cast<MemoryState &>(*fd->extension); }

void init_memory(Napi::Env env, Napi::Object exports) {
  exports.Set("memoryMisalignment", Napi::Function::New(env, memory_misalignment, "memoryMisalignment"));
  exports.Set("memoryCreate", Napi::Function::New(env, memory_create, "memoryCreate"));
  exports.Set("memoryAttach", Napi::Function::New(env, memory_attach, "memoryAttach"));
  exports.Set("memoryTransfer", Napi::Function::New(env, memory_transfer, "memoryTransfer"));
  exports.Set("memoryDiscard", Napi::Function::New(env, memory_discard, "memoryDiscard"));
}

} // namespace kvm_binding
