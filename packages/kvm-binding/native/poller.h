// Many descriptors, one wait: for threads that have no event loop of their own.
#pragma once

#include <napi.h>

namespace kvm_binding {

void init_poller(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
