// Guest memory: one file of memory, mapped twice. Once for KVM and for native code, owned here; once over the inside of a SharedArrayBuffer, for JavaScript.
#pragma once

#include "handle.h"
#include "mapping.h"

namespace kvm_binding {

struct MemoryState : Extension {
  std::shared_ptr<Mapping> native; // what KVM's memory slots point into; slots keep it alive after the handle is closed
  uint8_t *view = nullptr;         // the same pages inside the SharedArrayBuffer
  size_t size = 0;

  ~MemoryState() override;
};

MemoryState &memory_of(const FdRef &fd);

void init_memory(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
