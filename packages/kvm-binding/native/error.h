// How native code reports failure: every error reaches JavaScript as the KvmError that TypeScript registered (setErrorFactory).
#pragma once

#include <napi.h>

#include <string>

namespace kvm_binding {

// What went wrong, in the words of KvmError.code.
inline constexpr const char *kErrno = "ERRNO";             // the kernel said no: errno tells why
inline constexpr const char *kClosed = "CLOSED";           // the handle was closed
inline constexpr const char *kInvalid = "INVALID";         // an argument that can never be right; the kernel was not asked
inline constexpr const char *kUnsupported = "UNSUPPORTED"; // this kernel or host lacks it
inline constexpr const char *kWrongThread = "WRONG_THREAD";

// Throws. `what` is the ioctl or syscall ("KVM_SET_REGS"); `error` is errno or 0; `detail` says what was tried.
[[noreturn]] void fail(Napi::Env env, const char *code, const std::string &what, int error, const std::string &detail);

// Throws ERRNO with the current errno.
[[noreturn]] void fail_errno(Napi::Env env, const std::string &what, const std::string &detail = "");

[[noreturn]] inline void fail_invalid(Napi::Env env, const std::string &what, const std::string &detail) {
  fail(env, kInvalid, what, 0, detail);
}

void init_errors(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
