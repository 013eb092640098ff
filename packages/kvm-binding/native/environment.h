// What this module keeps for each JavaScript environment (the main thread and every Worker has its own).
#pragma once

#include <napi.h>

namespace kvm_binding {

struct Environment {
  Napi::FunctionReference error_factory;
};

} // namespace kvm_binding
