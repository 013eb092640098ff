// The *at() calls that Node lacks: files named by a directory's descriptor and one name in it, never by a path.
#pragma once

#include <napi.h>

namespace kvm_binding {

void init_fs_at(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
