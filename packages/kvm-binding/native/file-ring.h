// Reads and writes of a file, many at once, by io_uring(7).
#pragma once

#include <napi.h>

namespace kvm_binding {

void init_file_ring(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
