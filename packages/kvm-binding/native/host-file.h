// What a disk image needs of its file and Node lacks: holes, zeroed ranges, byte-range locks.
#pragma once

#include <napi.h>

namespace kvm_binding {

void init_host_file(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
