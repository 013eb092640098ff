// Pseudo-terminals.
#pragma once

#include <napi.h>

namespace kvm_binding {

void init_pty(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
