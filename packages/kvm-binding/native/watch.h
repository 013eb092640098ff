// Readability of a descriptor as a callback on this thread's event loop.
#pragma once

#include <napi.h>

namespace kvm_binding {

void init_watch(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
