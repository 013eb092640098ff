// Event counters shared with the kernel: what a guest kicks by ioeventfd and is interrupted by.
#pragma once

#include <napi.h>

namespace kvm_binding {

void init_eventfd(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
