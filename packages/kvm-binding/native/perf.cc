#include "perf.h"

#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "arguments.h"
#include "error.h"
#include "handle.h"
#include "mapping.h"

namespace kvm_binding {

namespace {

struct PerfState : Extension {
  std::mutex mutex; // one reader of the ring at a time: data_tail has one owner
  std::shared_ptr<Mapping> ring;
};

PerfState &state_of(const FdRef &fd) { return static_cast<PerfState &>(*fd->extension); }

// perfOpen(attr, pid, cpu, group | null, flags)
Napi::Value perf_open(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  constexpr const char *what = "perf_event_open";
  const Bytes bytes = arg_private_bytes(info, 0, what, "attr");
  const int pid = arg_i32(info, 1, what, "pid");
  const int cpu = arg_i32(info, 2, what, "cpu");
  const int group = info[3].IsNull() ? -1 : unwrap(env, info[3], Kind::Perf, what)->number;
  const uint32_t flags = arg_u32(info, 4, what, "flags");
  if (bytes.size < PERF_ATTR_SIZE_VER0) fail_invalid(env, what, "attr is shorter than any perf_event_attr");
  perf_event_attr attr{};
  std::memcpy(&attr, bytes.data, std::min(bytes.size, sizeof attr));
  if (attr.size != 0 && attr.size > std::min(bytes.size, sizeof attr)) fail_invalid(env, what, "attr.size is more than the bytes given");
  // It would be delivered to this process, where nobody waits for it: the default of SIGTRAP is to die.
  if (attr.sigtrap) fail_invalid(env, what, "sigtrap has no use here");
  const long number = syscall(SYS_perf_event_open, &attr, pid, cpu, group, static_cast<unsigned long>(flags | PERF_FLAG_FD_CLOEXEC));
  if (number < 0) {
    fail_errno(env, what,
               "type " + std::to_string(attr.type) + ", config " + std::to_string(attr.config) + ", pid " + std::to_string(pid) + ", cpu " +
                   std::to_string(cpu));
  }
  auto fd = std::make_shared<Fd>(static_cast<int>(number), Kind::Perf);
  fd->extension = std::make_shared<PerfState>();
  return wrap(env, std::move(fd));
}

// perfControl(event, request, value): the requests that take a number.
Napi::Value perf_control(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &event = unwrap(env, info[0], Kind::Perf, "perf ioctl");
  const uint32_t request = arg_u32(info, 1, "perf ioctl", "request");
  const uint64_t value = arg_u64(info, 2, "perf ioctl", "value");
  int result;
  switch (request) {
  case PERF_EVENT_IOC_ENABLE:
  case PERF_EVENT_IOC_DISABLE:
  case PERF_EVENT_IOC_RESET:
  case PERF_EVENT_IOC_REFRESH:
  case PERF_EVENT_IOC_PAUSE_OUTPUT:
    result = ioctl(event->number, request, value);
    break;
  case PERF_EVENT_IOC_PERIOD:
    result = ioctl(event->number, request, &value);
    break;
  default:
    fail_invalid(env, "perf ioctl", "request " + std::to_string(request) + " is not one this binding passes on");
  }
  if (result < 0) fail_errno(env, "perf ioctl", "request " + std::to_string(request & 0xff));
  return env.Undefined();
}

// perfSetFilter(event, text): an expression over a tracepoint's fields.
Napi::Value perf_set_filter(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &event = unwrap(env, info[0], Kind::Perf, "PERF_EVENT_IOC_SET_FILTER");
  const std::string filter = arg_string(info, 1, "PERF_EVENT_IOC_SET_FILTER", "filter", 4095);
  if (ioctl(event->number, PERF_EVENT_IOC_SET_FILTER, filter.c_str()) != 0) fail_errno(env, "PERF_EVENT_IOC_SET_FILTER", filter);
  return env.Undefined();
}

// perfSetOutput(event, target | null): records go to the target's ring.
Napi::Value perf_set_output(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &event = unwrap(env, info[0], Kind::Perf, "PERF_EVENT_IOC_SET_OUTPUT");
  const long target = info[1].IsNull() ? -1L : unwrap(env, info[1], Kind::Perf, "PERF_EVENT_IOC_SET_OUTPUT")->number;
  if (ioctl(event->number, PERF_EVENT_IOC_SET_OUTPUT, target) != 0) fail_errno(env, "PERF_EVENT_IOC_SET_OUTPUT");
  return env.Undefined();
}

// perfId(event)
Napi::Value perf_id(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &event = unwrap(env, info[0], Kind::Perf, "PERF_EVENT_IOC_ID");
  uint64_t id = 0;
  if (ioctl(event->number, PERF_EVENT_IOC_ID, &id) != 0) fail_errno(env, "PERF_EVENT_IOC_ID");
  return Napi::Number::New(env, static_cast<double>(id));
}

// perfRead(event, into): the counter and what read_format adds, as doubles. Returns how many.
Napi::Value perf_read(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &event = unwrap(env, info[0], Kind::Perf, "read(perf)");
  const Elements<double> into = arg_doubles(info, 1, "read(perf)", "into");
  uint64_t values[512];
  const size_t room = std::min(into.count, std::size(values));
  const ssize_t length = read(event->number, values, room * sizeof(uint64_t));
  if (length < 0) fail_errno(env, "read(perf)");
  const size_t count = static_cast<size_t>(length) / sizeof(uint64_t);
  for (size_t i = 0; i < count; i++) into.data[i] = static_cast<double>(values[i]);
  return Napi::Number::New(env, static_cast<double>(count));
}

// perfMap(event, dataPages): maps the ring, once.
Napi::Value perf_map(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  constexpr const char *what = "mmap(perf)";
  const FdRef &event = unwrap(env, info[0], Kind::Perf, what);
  const uint32_t pages = arg_u32(info, 1, what, "dataPages");
  if (pages == 0 || (pages & (pages - 1)) != 0 || pages > (1u << 20)) fail_invalid(env, what, "dataPages must be a power of two up to 2^20");
  PerfState &state = state_of(event);
  std::lock_guard lock(state.mutex);
  if (state.ring != nullptr) fail_invalid(env, what, "the event has its ring already");
  state.ring = Mapping::make(event->number, (1 + static_cast<size_t>(pages)) * kPageBytes, PROT_READ | PROT_WRITE);
  if (state.ring == nullptr) fail_errno(env, what, std::to_string(pages) + " pages (perf_event_mlock_kb limits them for who is not root)");
  return env.Undefined();
}

struct RingView {
  perf_event_mmap_page *page;
  const uint8_t *data;
  uint64_t size;
};

RingView ring_of(Napi::Env env, PerfState &state) {
  if (state.ring == nullptr) fail_invalid(env, "drain", "the event has no ring: map it first");
  auto *page = reinterpret_cast<perf_event_mmap_page *>(state.ring->base);
  return {page, state.ring->base + kPageBytes, state.ring->size - kPageBytes};
}

// perfDrain(event, into): moves whole records, oldest first, as many as fit. Returns bytes.
Napi::Value perf_drain(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &event = unwrap(env, info[0], Kind::Perf, "drain");
  const Bytes into = arg_bytes(info, 1, "drain", "into");
  PerfState &state = state_of(event);
  std::lock_guard lock(state.mutex);
  const RingView ring = ring_of(env, state);
  const uint64_t head = __atomic_load_n(&ring.page->data_head, __ATOMIC_ACQUIRE);
  const uint64_t tail = ring.page->data_tail; // written by nobody else
  const uint64_t waiting = head - tail;
  if (waiting > ring.size) fail_invalid(env, "drain", "the ring's head is ahead of its size: it is not read in order");
  uint64_t taken = waiting;
  if (waiting > into.size) { // as many whole records as fit; a header never wraps, records being multiples of 8 bytes
    taken = 0;
    while (taken < waiting) {
      perf_event_header header;
      std::memcpy(&header, ring.data + (tail + taken) % ring.size, sizeof header);
      if (header.size < sizeof header || header.size > waiting - taken) fail_invalid(env, "drain", "a record in the ring has a wrong size");
      if (taken + header.size > into.size) {
        if (taken == 0) fail_invalid(env, "drain", "the next record is " + std::to_string(header.size) + " bytes, more than there is room for");
        break;
      }
      taken += header.size;
    }
  }
  const uint64_t start = tail % ring.size;
  const uint64_t first = std::min(taken, ring.size - start);
  if (first != 0) std::memcpy(into.data, ring.data + start, first);
  if (taken != first) std::memcpy(into.data + first, ring.data, taken - first);
  __atomic_store_n(&ring.page->data_tail, tail + taken, __ATOMIC_RELEASE);
  return Napi::Number::New(env, static_cast<double>(taken));
}

// perfPending(event): bytes waiting in the ring.
Napi::Value perf_pending(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &event = unwrap(env, info[0], Kind::Perf, "drain");
  PerfState &state = state_of(event);
  std::lock_guard lock(state.mutex);
  const RingView ring = ring_of(env, state);
  return Napi::Number::New(env, static_cast<double>(__atomic_load_n(&ring.page->data_head, __ATOMIC_ACQUIRE) - ring.page->data_tail));
}

} // namespace

void init_perf(Napi::Env env, Napi::Object exports) {
  exports.Set("perfOpen", Napi::Function::New(env, perf_open, "perfOpen"));
  exports.Set("perfControl", Napi::Function::New(env, perf_control, "perfControl"));
  exports.Set("perfSetFilter", Napi::Function::New(env, perf_set_filter, "perfSetFilter"));
  exports.Set("perfSetOutput", Napi::Function::New(env, perf_set_output, "perfSetOutput"));
  exports.Set("perfId", Napi::Function::New(env, perf_id, "perfId"));
  exports.Set("perfRead", Napi::Function::New(env, perf_read, "perfRead"));
  exports.Set("perfMap", Napi::Function::New(env, perf_map, "perfMap"));
  exports.Set("perfDrain", Napi::Function::New(env, perf_drain, "perfDrain"));
  exports.Set("perfPending", Napi::Function::New(env, perf_pending, "perfPending"));
}

} // namespace kvm_binding
