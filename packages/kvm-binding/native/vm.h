// A virtual machine: what must live as long as the kernel can touch it.
#pragma once

#include <mutex>
#include <unordered_map>

#include "handle.h"
#include "mapping.h"

namespace kvm_binding {

// Shared by the VM's Fd and its vCPUs' Fds: the kernel's VM lives until the last of them is closed, and so must the guest's memory.
struct VmState : Extension {
  struct Slot {
    std::shared_ptr<Mapping> memory; // null for a slot that only a guest_memfd backs
    uint64_t size = 0;
  };

  std::mutex mutex; // held around the ioctls that read or change the slots
  std::unordered_map<uint32_t, Slot> slots;
  uint32_t dirty_ring_bytes = 0; // KVM_CAP_DIRTY_LOG_RING, once enabled
  size_t run_bytes = 0;          // KVM_GET_VCPU_MMAP_SIZE
};

inline std::shared_ptr<VmState> vm_state(const FdRef &vm) { return std::static_pointer_cast<VmState>(vm->extension); }

void init_vm(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
