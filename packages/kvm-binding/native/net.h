// Taps and unix sockets.
#pragma once

#include <napi.h>

namespace kvm_binding {

void init_net(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
