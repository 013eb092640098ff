// Arguments as C++ values. What is of the wrong type is a TypeError; what is out of range is INVALID. Nothing is coerced.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>

namespace kvm_binding {

// An integer given as a number (safe integers only) or a bigint.
uint64_t arg_u64(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name);
int64_t arg_i64(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name);
uint32_t arg_u32(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name);
int32_t arg_i32(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name);
bool arg_bool(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name);

// A string without NUL, at most `limit` bytes of UTF-8.
std::string arg_string(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name, size_t limit = 4096);

// The bytes of a typed array or DataView, valid during the call.
struct Bytes {
  uint8_t *data = nullptr;
  size_t size = 0;
  bool shared = false; // backed by a SharedArrayBuffer: another thread may change it meanwhile
};

Bytes bytes_of(Napi::Env env, napi_value value, const char *what, const char *name);
Bytes arg_bytes(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name);

// The same, refusing a SharedArrayBuffer: for bytes whose counts are checked before the kernel reads them again.
Bytes arg_private_bytes(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name);

// A typed array of exactly this element type; `count` elements.
template <typename T> struct Elements {
  T *data = nullptr;
  size_t count = 0;
};
Elements<double> arg_doubles(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name);
Elements<int32_t> arg_int32s(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name);

} // namespace kvm_binding
