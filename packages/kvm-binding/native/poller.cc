#include "poller.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>

#include "arguments.h"
#include "error.h"
#include "handle.h"

namespace kvm_binding {

namespace {

constexpr size_t kMostAtOnce = 1024;

// pollerCreate()
Napi::Value poller_create(const Napi::CallbackInfo &info) {
  const int number = epoll_create1(EPOLL_CLOEXEC);
  if (number < 0) fail_errno(info.Env(), "epoll_create1");
  return wrap(info.Env(), std::make_shared<Fd>(number, Kind::Poller));
}

// pollerControl(poller, operation, fd, key, events): operation 1 add, 2 remove, 3 modify, as epoll_ctl has them.
Napi::Value poller_control(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &poller = unwrap(env, info[0], Kind::Poller, "epoll_ctl");
  const int operation = arg_i32(info, 1, "epoll_ctl", "operation");
  const int fd = arg_i32(info, 2, "epoll_ctl", "fd");
  const int32_t key = arg_i32(info, 3, "epoll_ctl", "key");
  epoll_event event{};
  event.events = arg_u32(info, 4, "epoll_ctl", "events");
  event.data.u64 = static_cast<uint32_t>(key);
  if (epoll_ctl(poller->number, operation, fd, &event) != 0) fail_errno(env, "epoll_ctl", "descriptor " + std::to_string(fd));
  return env.Undefined();
}

// pollerWait(poller, timeoutMs, keys, events): how many are ready, -1 when a signal came first. A negative timeout waits for ever.
Napi::Value poller_wait(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &poller = unwrap(env, info[0], Kind::Poller, "epoll_wait");
  const int timeout = arg_i32(info, 1, "epoll_wait", "timeoutMs");
  const Elements<int32_t> keys = arg_int32s(info, 2, "epoll_wait", "keys");
  const Elements<int32_t> ready = arg_int32s(info, 3, "epoll_wait", "events");
  const size_t room = std::min({keys.count, ready.count, kMostAtOnce});
  if (room == 0) fail_invalid(env, "epoll_wait", "no room for what is ready");
  epoll_event events[kMostAtOnce];
  const int count = epoll_wait(poller->number, events, static_cast<int>(room), timeout);
  if (count < 0) {
    if (errno != EINTR) fail_errno(env, "epoll_wait");
    return Napi::Number::New(env, -1);
  }
  for (int i = 0; i < count; i++) {
    keys.data[i] = static_cast<int32_t>(events[i].data.u64);
    ready.data[i] = static_cast<int32_t>(events[i].events);
  }
  return Napi::Number::New(env, count);
}

} // namespace

void init_poller(Napi::Env env, Napi::Object exports) {
  exports.Set("pollerCreate", Napi::Function::New(env, poller_create, "pollerCreate"));
  exports.Set("pollerControl", Napi::Function::New(env, poller_control, "pollerControl"));
  exports.Set("pollerWait", Napi::Function::New(env, poller_wait, "pollerWait"));
}

} // namespace kvm_binding
