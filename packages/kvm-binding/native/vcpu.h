// A virtual CPU: its run page, the one thread inside KVM_RUN, and how others get it out.
#pragma once

#include <atomic>
#include <optional>

#include "handle.h"
#include "ledger.h"
#include "mapping.h"
#include "vm.h"

struct kvm_run;

namespace kvm_binding {

struct VcpuState : Extension {
  std::shared_ptr<VmState> vm; // keeps guest memory alive as long as this vCPU can run
  uint32_t id = 0;
  std::shared_ptr<Mapping> run_page; // struct kvm_run, the PIO page, the coalesced ring
  std::shared_ptr<Mapping> dirty_ring;
  uint32_t dirty_ring_next = 0;

  // The thread inside run(), or 0. Whoever moves it from 0 owns the vCPU, the ledger writer included, until it is 0 again.
  std::atomic<int> runner{0};
  std::optional<LedgerWriter> ledger;

  // KVM_RUN, accounted. The exit reason, or -errno.
  int run(int fd);
  void kick();

  kvm_run *page() const { return reinterpret_cast<kvm_run *>(run_page->base); }
};

inline constexpr int kBusyElsewhere = -4096; // below every -errno

void init_vcpu(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
