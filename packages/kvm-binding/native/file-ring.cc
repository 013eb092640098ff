#include "file-ring.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <vector>

#include "arguments.h"
#include "error.h"
#include "handle.h"

namespace kvm_binding {

namespace {

constexpr uint32_t kMostEntries = 256;
constexpr size_t kMostBuffers = 1024; // IOV_MAX
// What a request is, beside its offset.
constexpr uint32_t kWrite = 1;
constexpr uint32_t kAsync = 2;
constexpr size_t kFields = 4;

int enter(int ring, uint32_t submit, uint32_t wait_for) {
  const uint32_t flags = wait_for > 0 ? IORING_ENTER_GETEVENTS : 0;
  return static_cast<int>(syscall(__NR_io_uring_enter, ring, submit, wait_for, flags, nullptr, 0));
}

// An index that the kernel reads or writes, too.
std::atomic_ref<uint32_t> shared_index(uint8_t *base, uint32_t offset) {
  return std::atomic_ref<uint32_t>(*reinterpret_cast<uint32_t *>(base + offset));
}

struct Area {
  uint8_t *base = nullptr;
  size_t size = 0;

  bool map(int ring, size_t bytes, uint64_t offset) {
    void *at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, static_cast<off_t>(offset));
    if (at == MAP_FAILED) return false;
    base = static_cast<uint8_t *>(at);
    size = bytes;
    return true;
  }
  ~Area() {
    if (base != nullptr) munmap(base, size);
  }
};

struct RingState : Extension {
  // Its own, so that it is still open when the handle's is not.
  int number = -1;
  io_uring_params about{};
  Area submissions;
  Area completions;
  Area entries;
  uint32_t in_flight = 0;
  // The buffers of what is in flight.
  std::vector<iovec> vectors;

  // The kernel may still write to what it was given: nothing is let go before it is done.
  ~RingState() override {
    drain();
    if (number >= 0) close(number);
  }

  void drain() {
    uint32_t taken[kMostEntries];
    int32_t results[kMostEntries];
    while (in_flight > 0) {
      if (take(taken, results, kMostEntries) == 0 && enter(number, 0, 1) < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY) break;
    }
  }

  bool map() {
    const size_t sq = about.sq_off.array + about.sq_entries * sizeof(uint32_t);
    const size_t cq = about.cq_off.cqes + about.cq_entries * sizeof(io_uring_cqe);
    return submissions.map(number, sq, IORING_OFF_SQ_RING) && completions.map(number, cq, IORING_OFF_CQ_RING) &&
           entries.map(number, about.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES);
  }

  // Only between this and the next enter() does the entry change.
  void add(const io_uring_sqe &entry) {
    const auto tail = shared_index(submissions.base, about.sq_off.tail);
    const uint32_t at = tail.load(std::memory_order_relaxed);
    const uint32_t slot = at & (about.sq_entries - 1);
    reinterpret_cast<io_uring_sqe *>(entries.base)[slot] = entry;
    reinterpret_cast<uint32_t *>(submissions.base + about.sq_off.array)[slot] = slot;
    tail.store(at + 1, std::memory_order_release);
  }

  // Takes what is done: how many.
  uint32_t take(uint32_t *which, int32_t *results, uint32_t most) {
    const auto head = shared_index(completions.base, about.cq_off.head);
    const uint32_t end = shared_index(completions.base, about.cq_off.tail).load(std::memory_order_acquire);
    uint32_t at = head.load(std::memory_order_relaxed);
    uint32_t count = 0;
    for (; at != end && count < most; at++, count++) {
      const auto &done = reinterpret_cast<const io_uring_cqe *>(completions.base + about.cq_off.cqes)[at & (about.cq_entries - 1)];
      which[count] = static_cast<uint32_t>(done.user_data);
      results[count] = done.res;
    }
    head.store(at, std::memory_order_release);
    in_flight -= count;
    return count;
  }
};

RingState &state_of(const FdRef &fd) { return static_cast<RingState &>(*fd->extension); }

// fileRingCreate(entries): a ring of this thread. Throws ENOSYS, EPERM, ENOMEM where there is no io_uring.
Napi::Value ring_create(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const uint32_t entries = arg_u32(info, 0, "io_uring_setup", "entries");
  if (entries == 0 || entries > kMostEntries) fail_invalid(env, "io_uring_setup", std::to_string(entries) + " entries");
  auto state = std::make_shared<RingState>();
  const int number = static_cast<int>(syscall(__NR_io_uring_setup, entries, &state->about));
  if (number < 0) fail_errno(env, "io_uring_setup");
  auto fd = std::make_shared<Fd>(number, Kind::FileRing); // the kernel makes it close-on-exec
  state->number = fcntl(number, F_DUPFD_CLOEXEC, 0);
  if (state->number < 0) fail_errno(env, "fcntl(F_DUPFD_CLOEXEC)");
  if (!state->map()) fail_errno(env, "mmap", "the ring");
  fd->extension = state;
  return wrap(env, std::move(fd));
}

// fileRingSubmit(ring, file, requests, count, buffers): `requests` has four numbers each: offset in the file, flags (1 write, 2 let a thread
// of the kernel's do it), and how many of `buffers` are its own, in order; the fourth is the name it comes back with. Nothing may be in flight.
Napi::Value ring_submit(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  static const char *const what = "io_uring_enter";
  const FdRef &fd = unwrap(env, info[0], Kind::FileRing, what);
  const int file = arg_i32(info, 1, what, "file");
  const Elements<double> requests = arg_doubles(info, 2, what, "requests");
  const uint32_t count = arg_u32(info, 3, what, "count");
  RingState &ring = state_of(fd);
  if (!info[4].IsArray()) fail_invalid(env, what, "buffers is no array");
  const Napi::Array buffers = info[4].As<Napi::Array>();
  // What is neither may never be done with a request, and nobody could let go of its buffers.
  struct stat status;
  if (fstat(file, &status) != 0) fail_errno(env, "fstat", "descriptor " + std::to_string(file));
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) fail_invalid(env, what, "descriptor " + std::to_string(file) + " is no file");
  if (ring.in_flight > 0) fail_invalid(env, what, "requests are still in flight");
  if (count == 0 || count > ring.about.sq_entries || requests.count / kFields < count) fail_invalid(env, what, std::to_string(count) + " requests");
  std::vector<io_uring_sqe> entries(count);
  ring.vectors.clear();
  const uint32_t given = buffers.Length();
  std::vector<size_t> starts(count);
  for (uint32_t i = 0; i < count; i++) {
    const double *request = requests.data + kFields * i;
    const double room = static_cast<double>(std::min<size_t>(kMostBuffers, given - ring.vectors.size()));
    if (!(request[0] >= 0 && request[0] <= 0x1p53) || !(request[1] >= 0 && request[1] <= 3) || !(request[2] >= 1 && request[2] <= room) ||
        !(request[3] >= 0 && request[3] < 0x1p32)) {
      fail_invalid(env, what, "request " + std::to_string(i) + " is none");
    }
    starts[i] = ring.vectors.size();
    for (uint32_t n = static_cast<uint32_t>(request[2]); n > 0; n--) {
      const Bytes bytes = bytes_of(env, buffers.Get(static_cast<uint32_t>(ring.vectors.size())), what, "a buffer");
      ring.vectors.push_back({bytes.data, bytes.size});
    }
  }
  for (uint32_t i = 0; i < count; i++) {
    const double *request = requests.data + kFields * i;
    const uint32_t flags = static_cast<uint32_t>(request[1]);
    io_uring_sqe entry{};
    entry.opcode = (flags & kWrite) != 0 ? IORING_OP_WRITEV : IORING_OP_READV;
    entry.flags = (flags & kAsync) != 0 ? IOSQE_ASYNC : 0;
    entry.fd = file;
    entry.off = static_cast<uint64_t>(request[0]);
    entry.addr = reinterpret_cast<uint64_t>(ring.vectors.data() + starts[i]);
    entry.len = static_cast<uint32_t>(request[2]);
    entry.user_data = static_cast<uint32_t>(request[3]);
    ring.add(entry);
  }
  // They live as long as the ring, or until the next batch.
  info[0].As<Napi::Object>().Set("lent", buffers);
  // From here on the kernel has them, if need be by a later call.
  uint32_t left = count;
  while (left > 0) {
    const int taken = enter(ring.number, left, 0);
    if (taken > 0) {
      left -= static_cast<uint32_t>(taken);
      ring.in_flight += static_cast<uint32_t>(taken);
      continue;
    }
    if (taken < 0 && (errno == EINTR || errno == EAGAIN || errno == EBUSY)) continue;
    const int why = errno;
    // Those that the kernel has not taken are taken back.
    const auto tail = shared_index(ring.submissions.base, ring.about.sq_off.tail);
    tail.store(tail.load(std::memory_order_relaxed) - left, std::memory_order_release);
    ring.drain();
    errno = why;
    fail_errno(env, what);
  }
  return env.Undefined();
}

// fileRingWait(ring, names, results): waits until something is done. How many are; bytes moved or -errno of each. 0 when nothing is in flight.
Napi::Value ring_wait(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &fd = unwrap(env, info[0], Kind::FileRing, "io_uring_enter");
  const Elements<int32_t> names = arg_int32s(info, 1, "io_uring_enter", "names");
  const Elements<int32_t> results = arg_int32s(info, 2, "io_uring_enter", "results");
  RingState &ring = state_of(fd);
  const uint32_t most = static_cast<uint32_t>(std::min({names.count, results.count, static_cast<size_t>(kMostEntries)}));
  if (most == 0) fail_invalid(env, "io_uring_enter", "no room for what is done");
  uint32_t count = 0;
  while (ring.in_flight > 0) {
    count = ring.take(reinterpret_cast<uint32_t *>(names.data), results.data, most);
    if (count > 0) break;
    if (enter(ring.number, 0, 1) < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY) fail_errno(env, "io_uring_enter");
  }
  return Napi::Number::New(env, count);
}

} // namespace

void init_file_ring(Napi::Env env, Napi::Object exports) {
  exports.Set("fileRingCreate", Napi::Function::New(env, ring_create, "fileRingCreate"));
  exports.Set("fileRingSubmit", Napi::Function::New(env, ring_submit, "fileRingSubmit"));
  exports.Set("fileRingWait", Napi::Function::New(env, ring_wait, "fileRingWait"));
}

} // namespace kvm_binding
