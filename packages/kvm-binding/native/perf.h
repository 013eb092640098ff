// perf_event_open(2): counting, sampling, and the rings that samples arrive in.
#pragma once

#include <napi.h>

namespace kvm_binding {

void init_perf(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
