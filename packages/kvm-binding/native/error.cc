#include "error.h"

#include <cerrno>

#include "environment.h"

namespace kvm_binding {

void fail(Napi::Env env, const char *code, const std::string &what, int error, const std::string &detail) {
  Environment *environment = env.GetInstanceData<Environment>();
  if (environment == nullptr || environment->error_factory.IsEmpty()) {
    Napi::Error plain = Napi::Error::New(env, what + ": " + detail);
    plain.Set("code", Napi::String::New(env, code));
    plain.Set("errno", Napi::Number::New(env, error));
    throw plain;
  }
  Napi::Value made = environment->error_factory.Call({
      Napi::String::New(env, code),
      Napi::String::New(env, what),
      Napi::Number::New(env, error),
      Napi::String::New(env, detail),
  });
  if (!made.IsObject()) throw Napi::Error::New(env, what + ": " + detail);
  throw Napi::Error(env, made);
}

void fail_errno(Napi::Env env, const std::string &what, const std::string &detail) {
  fail(env, kErrno, what, errno, detail);
}

// setErrorFactory(make: (code, what, errno, detail) => Error): whether it is the one; a thread's first stays.
static Napi::Value set_error_factory(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  if (!info[0].IsFunction()) throw Napi::TypeError::New(env, "setErrorFactory: a function is needed");
  Environment *environment = env.GetInstanceData<Environment>();
  const bool first = environment->error_factory.IsEmpty();
  if (first) environment->error_factory = Napi::Persistent(info[0].As<Napi::Function>());
  return Napi::Boolean::New(env, first);
}

void init_errors(Napi::Env env, Napi::Object exports) {
  exports.Set("setErrorFactory", Napi::Function::New(env, set_error_factory, "setErrorFactory"));
}

} // namespace kvm_binding
