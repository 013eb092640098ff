#include "watch.h"

#include <fcntl.h>
#include <unistd.h>
#include <uv.h>

#include <cerrno>

#include "arguments.h"
#include "error.h"
#include "handle.h"

namespace kvm_binding {

namespace {

constexpr napi_type_tag kWatchTag = {0x9d2c5680efc60002ULL, 0x71b2c0ffee4b564dULL};

// Lives from watchStart until libuv has let go of the poll handle and JavaScript has let go of the object, in whichever order.
struct Watch {
  uv_poll_t poll{};
  int fd = -1; // a duplicate of its own: one loop cannot poll a descriptor twice, and the original may be closed first
  napi_env env = nullptr;
  napi_ref callback = nullptr;
  napi_async_context context = nullptr;
  napi_async_cleanup_hook_handle cleanup = nullptr;
  bool closing = false;
  bool closed = false;
  bool collected = false;

  void close() {
    if (closing) return;
    closing = true;
    uv_poll_stop(&poll);
    uv_close(reinterpret_cast<uv_handle_t *>(&poll), on_closed);
  }

  static void on_closed(uv_handle_t *handle) {
    Watch *watch = static_cast<Watch *>(handle->data);
    ::close(watch->fd);
    watch->closed = true;
    napi_handle_scope scope = nullptr;
    napi_open_handle_scope(watch->env, &scope);
    if (watch->callback != nullptr) napi_delete_reference(watch->env, watch->callback);
    if (watch->context != nullptr) napi_async_destroy(watch->env, watch->context);
    napi_close_handle_scope(watch->env, scope);
    if (watch->cleanup != nullptr) napi_remove_async_cleanup_hook(watch->cleanup);
    if (watch->collected) delete watch;
  }

  static void on_ready(uv_poll_t *handle, int, int) {
    Watch *watch = static_cast<Watch *>(handle->data);
    napi_env env = watch->env;
    napi_handle_scope scope = nullptr;
    if (napi_open_handle_scope(env, &scope) != napi_ok) return;
    napi_value callback = nullptr;
    napi_value receiver = nullptr;
    napi_value ignored = nullptr;
    napi_get_reference_value(env, watch->callback, &callback);
    napi_get_global(env, &receiver);
    if (napi_make_callback(env, watch->context, receiver, callback, 0, nullptr, &ignored) == napi_pending_exception) {
      napi_value error = nullptr;
      napi_get_and_clear_last_exception(env, &error);
      napi_fatal_exception(env, error); // as an exception in any other event callback: uncaughtException, or the end
    }
    napi_close_handle_scope(env, scope);
  }
};

Watch &need_watch(const Napi::CallbackInfo &info) {
  bool tagged = false;
  void *data = nullptr;
  if (!info[0].IsObject() || napi_check_object_type_tag(info.Env(), info[0], &kWatchTag, &tagged) != napi_ok || !tagged ||
      napi_unwrap(info.Env(), info[0], &data) != napi_ok) {
    throw Napi::TypeError::New(info.Env(), "watch: a watch of this binding is needed");
  }
  return *static_cast<Watch *>(data);
}

// watchStart(fd, callback)
Napi::Value watch_start(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const int number = arg_i32(info, 0, "watch", "fd");
  if (!info[1].IsFunction()) throw Napi::TypeError::New(env, "watch: a function is needed");
  uv_loop_t *loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) throw Napi::Error::New(env);
  const int copy = fcntl(number, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) fail_errno(env, "fcntl(F_DUPFD_CLOEXEC)", "descriptor " + std::to_string(number));
  auto watch = std::make_unique<Watch>();
  watch->fd = copy;
  watch->env = env;
  const int status = uv_poll_init(loop, &watch->poll, copy);
  if (status != 0) {
    ::close(copy);
    fail(env, kErrno, "uv_poll_init", -status, "descriptor " + std::to_string(number) + " cannot be polled");
  }
  watch->poll.data = watch.get();
  Watch *const raw = watch.release(); // from here on libuv has it: it goes through close()
  Napi::Object object = Napi::Object::New(env);
  napi_create_reference(env, info[1], 1, &raw->callback);
  napi_async_init(env, nullptr, Napi::String::New(env, "tools-kvm:watch"), &raw->context);
  napi_add_async_cleanup_hook(
      env, [](napi_async_cleanup_hook_handle, void *data) { static_cast<Watch *>(data)->close(); }, raw, &raw->cleanup);
  napi_wrap(
      env, object, raw,
      [](napi_env, void *data, void *) {
        Watch *watch = static_cast<Watch *>(data);
        watch->collected = true;
        if (watch->closed) delete watch; // otherwise still watching: it has no object to be closed by, and lives on
      },
      nullptr, nullptr);
  napi_type_tag_object(env, object, &kWatchTag);
  uv_poll_start(&raw->poll, UV_READABLE, Watch::on_ready);
  return object;
}

Napi::Value watch_close(const Napi::CallbackInfo &info) {
  need_watch(info).close();
  return info.Env().Undefined();
}

// watchRef(watch, ref): whether it keeps the process alive.
Napi::Value watch_ref(const Napi::CallbackInfo &info) {
  Watch &watch = need_watch(info);
  const bool ref = arg_bool(info, 1, "watch", "ref");
  uv_handle_t *handle = reinterpret_cast<uv_handle_t *>(&watch.poll);
  if (!watch.closing) ref ? uv_ref(handle) : uv_unref(handle);
  return info.Env().Undefined();
}

} // namespace

void init_watch(Napi::Env env, Napi::Object exports) {
  exports.Set("watchStart", Napi::Function::New(env, watch_start, "watchStart"));
  exports.Set("watchClose", Napi::Function::New(env, watch_close, "watchClose"));
  exports.Set("watchRef", Napi::Function::New(env, watch_ref, "watchRef"));
}

} // namespace kvm_binding
