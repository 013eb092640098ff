#include "eventfd.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "arguments.h"
#include "clock.h"
#include "error.h"
#include "handle.h"

namespace kvm_binding {

namespace {

// eventfdCreate(semaphore)
Napi::Value eventfd_create(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const bool semaphore = arg_bool(info, 0, "eventfd", "semaphore");
  const int number = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | (semaphore ? EFD_SEMAPHORE : 0));
  if (number < 0) fail_errno(env, "eventfd");
  return wrap(env, std::make_shared<Fd>(number, Kind::EventFd));
}

// eventfdSignal(eventfd, count): adds to the counter. A counter that is full stays full: who waits for it is awake anyway.
Napi::Value eventfd_signal(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &fd = unwrap(env, info[0], Kind::EventFd, "write(eventfd)");
  const uint64_t count = arg_u64(info, 1, "write(eventfd)", "count");
  ssize_t length;
  do {
    length = write(fd->number, &count, sizeof count);
  } while (length < 0 && errno == EINTR);
  if (length < 0 && errno != EAGAIN) fail_errno(env, "write(eventfd)");
  return env.Undefined();
}

// eventfdTake(eventfd): the counter, which becomes 0 (a semaphore: 1, and one less); 0 when there is nothing.
Napi::Value eventfd_take(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &fd = unwrap(env, info[0], Kind::EventFd, "read(eventfd)");
  uint64_t count = 0;
  ssize_t length;
  do {
    length = read(fd->number, &count, sizeof count);
  } while (length < 0 && errno == EINTR);
  if (length < 0 && errno != EAGAIN) fail_errno(env, "read(eventfd)");
  return Napi::Number::New(env, length < 0 ? 0 : static_cast<double>(count));
}

Napi::Value monotonic_now(const Napi::CallbackInfo &info) { return Napi::Number::New(info.Env(), static_cast<double>(monotonic_ns())); }

} // namespace

void init_eventfd(Napi::Env env, Napi::Object exports) {
  exports.Set("eventfdCreate", Napi::Function::New(env, eventfd_create, "eventfdCreate"));
  exports.Set("eventfdSignal", Napi::Function::New(env, eventfd_signal, "eventfdSignal"));
  exports.Set("eventfdTake", Napi::Function::New(env, eventfd_take, "eventfdTake"));
  exports.Set("monotonicNs", Napi::Function::New(env, monotonic_now, "monotonicNs"));
}

} // namespace kvm_binding
