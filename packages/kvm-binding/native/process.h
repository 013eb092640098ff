// What another process has: its descriptors (pidfd_getfd) and its sealed memory files.
#pragma once

#include <napi.h>

namespace kvm_binding {

void init_process(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
