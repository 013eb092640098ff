// The exit ledger as native code writes it: see src/ledger/layout.ts for the whole layout and what each field means.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "clock.h"
#include "mapping.h"

namespace kvm_binding {

inline constexpr uint32_t kLedgerSubBucketBits = 6;
inline constexpr uint32_t kLedgerLargestBit = 36; // times of 2^36 ns and more land in the last bucket
inline constexpr uint32_t kLedgerBucketCount = 64 + (kLedgerLargestBit - kLedgerSubBucketBits) * 64;
inline constexpr uint32_t kLedgerFirstDeviceSlot = 64;
inline constexpr uint32_t kLedgerOtherSlot = 63;
inline constexpr uint32_t kLedgerVcpuHeaderBytes = 4096;

// The bucket of a time: one bucket a nanosecond below 64 ns, then 64 to the octave.
inline uint32_t ledger_bucket(uint64_t ns) {
  if (ns < 64) return static_cast<uint32_t>(ns);
  const uint32_t octave = static_cast<uint32_t>(std::bit_width(ns)) - 1 - kLedgerSubBucketBits;
  const uint32_t bucket = 64 + octave * 64 + static_cast<uint32_t>((ns >> octave) - 64);
  return std::min(bucket, kLedgerBucketCount - 1);
}

enum class LedgerVcpuState : uint32_t { NotStarted = 0, InGuest = 1, InHandler = 2, Paused = 3, Stopped = 4 };

struct LedgerVcpuHeader {
  uint32_t vcpu_id;
  uint32_t tid;
  uint32_t state;
  uint32_t current_slot;
  uint64_t last_enter_ns;
  uint64_t last_exit_ns;
  uint8_t reserved[kLedgerVcpuHeaderBytes - 32];
};

struct LedgerSlot {
  uint64_t count;
  uint64_t kernel_ns;
  uint64_t handler_ns;
  uint64_t min_kernel_ns;
  uint64_t max_kernel_ns;
  uint64_t min_handler_ns;
  uint64_t max_handler_ns;
  uint64_t reserved;
  uint64_t kernel_histogram[kLedgerBucketCount];
  uint64_t handler_histogram[kLedgerBucketCount];
};

static_assert(sizeof(LedgerVcpuHeader) == 4096);
static_assert(offsetof(LedgerVcpuHeader, last_exit_ns) == 24);
static_assert(offsetof(LedgerSlot, kernel_histogram) == 64);
static_assert(sizeof(LedgerSlot) == 64 + 2 * 8 * kLedgerBucketCount);

// Accounts one vCPU's exits. Used by the thread that runs the vCPU and by no other; readers in other threads and processes only look.
class LedgerWriter {
public:
  LedgerWriter(std::shared_ptr<Mapping> memory, uint8_t *block, uint32_t slot_count)
      : memory_(std::move(memory)), header_(reinterpret_cast<LedgerVcpuHeader *>(block)),
        slots_(reinterpret_cast<LedgerSlot *>(block + kLedgerVcpuHeaderBytes)), slot_count_(slot_count) {}

  // Before KVM_RUN: the exit that came last has been handled by now.
  void enter(uint32_t tid) {
    entered_ns_ = clock_.now();
    if (pending_) account();
    kernel_start_ns_ = entered_ns_;
    store(header_->tid, tid);
    store(header_->state, static_cast<uint32_t>(LedgerVcpuState::InGuest));
    store(header_->last_enter_ns, entered_ns_);
  }

  // After KVM_RUN returned with this exit reason.
  void leave(uint32_t exit_reason) {
    exited_ns_ = clock_.now();
    pending_ = true;
    store(header_->current_slot, std::min(exit_reason, kLedgerOtherSlot));
    store(header_->state, static_cast<uint32_t>(LedgerVcpuState::InHandler));
    store(header_->last_exit_ns, exited_ns_);
  }

  // The vCPU will not run again (or not into this ledger): its last exit is accounted as handled by now.
  void flush() {
    if (!pending_) return;
    entered_ns_ = clock_.now();
    account();
    pending_ = false;
  }

private:
  template <typename T> static void store(T &to, T value) { __atomic_store_n(&to, value, __ATOMIC_RELAXED); }

  // The slot was never touched while its count is 0, so the first exit sets both extremes.
  static void extremes(uint64_t &low, uint64_t &high, uint64_t value, bool first) {
    if (first || value < low) store(low, value);
    if (value > high) store(high, value);
  }

  void account() {
    uint32_t index = __atomic_load_n(&header_->current_slot, __ATOMIC_RELAXED);
    if (index >= slot_count_) index = kLedgerOtherSlot;
    LedgerSlot &slot = slots_[index];
    // A TSC read on another CPU may be a few ticks behind: no time is better than 2^64 of it.
    const uint64_t kernel_ns = exited_ns_ > kernel_start_ns_ ? exited_ns_ - kernel_start_ns_ : 0;
    const uint64_t handler_ns = entered_ns_ > exited_ns_ ? entered_ns_ - exited_ns_ : 0;
    extremes(slot.min_kernel_ns, slot.max_kernel_ns, kernel_ns, slot.count == 0);
    extremes(slot.min_handler_ns, slot.max_handler_ns, handler_ns, slot.count == 0);
    store(slot.kernel_ns, slot.kernel_ns + kernel_ns);
    store(slot.handler_ns, slot.handler_ns + handler_ns);
    uint64_t &kernel_bucket = slot.kernel_histogram[ledger_bucket(kernel_ns)];
    uint64_t &handler_bucket = slot.handler_histogram[ledger_bucket(handler_ns)];
    store(kernel_bucket, kernel_bucket + 1);
    store(handler_bucket, handler_bucket + 1);
    store(slot.count, slot.count + 1);
  }

  std::shared_ptr<Mapping> memory_;
  LedgerVcpuHeader *header_;
  LedgerSlot *slots_;
  uint32_t slot_count_;
  bool pending_ = false;
  uint64_t kernel_start_ns_ = 0; // when the KVM_RUN that ended in the pending exit began
  uint64_t entered_ns_ = 0;
  uint64_t exited_ns_ = 0;
  LedgerClock clock_;
};

} // namespace kvm_binding
