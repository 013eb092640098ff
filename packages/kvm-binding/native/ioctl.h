// ioctl() and ioctlBytes(): every KVM ioctl without pointers in it, checked against one table.
#pragma once

#include <napi.h>

namespace kvm_binding {

void init_ioctl(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
