#include "arguments.h"

#include <cmath>
#include <iterator>

#include "error.h"

namespace kvm_binding {

namespace {

constexpr double kMaxSafeInteger = 9007199254740991.0;

std::string subject(const char *what, const char *name) { return std::string(what) + ": " + name; }

[[noreturn]] void wrong_type(Napi::Env env, const char *what, const char *name, const char *needed) {
  throw Napi::TypeError::New(env, subject(what, name) + " must be " + needed);
}

double integer(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name, double low, double high) {
  Napi::Value value = info[index];
  if (!value.IsNumber()) wrong_type(info.Env(), what, name, "a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= low && number <= high) || number != std::floor(number)) {
    fail_invalid(info.Env(), what, std::string(name) + " must be a whole number between " + std::to_string(static_cast<int64_t>(low)) +
                                       " and " + std::to_string(static_cast<int64_t>(high)));
  }
  return number;
}

} // namespace

uint64_t arg_u64(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name) {
  if (info[index].IsBigInt()) {
    bool lossless = false;
    const uint64_t value = info[index].As<Napi::BigInt>().Uint64Value(&lossless);
    if (!lossless) fail_invalid(info.Env(), what, std::string(name) + " must fit in 64 bits and not be negative");
    return value;
  }
  return static_cast<uint64_t>(integer(info, index, what, name, 0, kMaxSafeInteger));
}

int64_t arg_i64(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name) {
  if (info[index].IsBigInt()) {
    bool lossless = false;
    const int64_t value = info[index].As<Napi::BigInt>().Int64Value(&lossless);
    if (!lossless) fail_invalid(info.Env(), what, std::string(name) + " must fit in 64 signed bits");
    return value;
  }
  return static_cast<int64_t>(integer(info, index, what, name, -kMaxSafeInteger, kMaxSafeInteger));
}

uint32_t arg_u32(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name) {
  return static_cast<uint32_t>(integer(info, index, what, name, 0, 4294967295.0));
}

int32_t arg_i32(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name) {
  return static_cast<int32_t>(integer(info, index, what, name, -2147483648.0, 2147483647.0));
}

bool arg_bool(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name) {
  if (!info[index].IsBoolean()) wrong_type(info.Env(), what, name, "true or false");
  return info[index].As<Napi::Boolean>().Value();
}

std::string arg_string(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name, size_t limit) {
  if (!info[index].IsString()) wrong_type(info.Env(), what, name, "a string");
  std::string text = info[index].As<Napi::String>().Utf8Value();
  if (text.size() > limit) fail_invalid(info.Env(), what, std::string(name) + " is longer than " + std::to_string(limit) + " bytes");
  if (text.find('\0') != std::string::npos) fail_invalid(info.Env(), what, std::string(name) + " has a NUL in it");
  return text;
}

Bytes arg_bytes(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name) {
  return bytes_of(info.Env(), info[index], what, name);
}

Bytes bytes_of(Napi::Env env, napi_value value, const char *what, const char *name) {
  Bytes bytes;
  void *data = nullptr;
  napi_value buffer = nullptr;
  size_t offset = 0;
  bool is_typed_array = false;
  bool is_data_view = false;
  napi_is_typedarray(env, value, &is_typed_array);
  if (is_typed_array) {
    napi_typedarray_type type;
    size_t length = 0;
    if (napi_get_typedarray_info(env, value, &type, &length, &data, &buffer, &offset) != napi_ok) wrong_type(env, what, name, "a typed array");
    static constexpr size_t kWidth[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8}; // in the order of napi_typedarray_type
    if (static_cast<size_t>(type) >= std::size(kWidth)) wrong_type(env, what, name, "a typed array of whole bytes");
    bytes.size = length * kWidth[type];
  } else {
    napi_is_dataview(env, value, &is_data_view);
    if (!is_data_view || napi_get_dataview_info(env, value, &bytes.size, &data, &buffer, &offset) != napi_ok) {
      wrong_type(env, what, name, "a typed array or DataView");
    }
  }
  bool is_array_buffer = false;
  napi_is_arraybuffer(env, buffer, &is_array_buffer);
  bytes.shared = !is_array_buffer;
  bytes.data = static_cast<uint8_t *>(data);
  if (bytes.data == nullptr) bytes.size = 0;
  return bytes;
}

Bytes arg_private_bytes(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name) {
  const Bytes bytes = arg_bytes(info, index, what, name);
  if (bytes.shared) fail_invalid(info.Env(), what, std::string(name) + " must not be backed by a SharedArrayBuffer");
  return bytes;
}

template <typename T>
static Elements<T> elements(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name, napi_typedarray_type wanted,
                            const char *needed) {
  if (!info[index].IsTypedArray()) wrong_type(info.Env(), what, name, needed);
  napi_typedarray_type type;
  size_t length = 0;
  void *data = nullptr;
  if (napi_get_typedarray_info(info.Env(), info[index], &type, &length, &data, nullptr, nullptr) != napi_ok || type != wanted) {
    wrong_type(info.Env(), what, name, needed);
  }
  return {static_cast<T *>(data), data == nullptr ? 0 : length};
}

Elements<double> arg_doubles(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name) {
  return elements<double>(info, index, what, name, napi_float64_array, "a Float64Array");
}

Elements<int32_t> arg_int32s(const Napi::CallbackInfo &info, size_t index, const char *what, const char *name) {
  return elements<int32_t>(info, index, what, name, napi_int32_array, "an Int32Array");
}

} // namespace kvm_binding
