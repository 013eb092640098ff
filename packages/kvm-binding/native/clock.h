// CLOCK_MONOTONIC, and a cheaper way to read it where the kernel itself keeps time by the TSC.
#pragma once

#include <ctime>
#include <x86intrin.h>

#include <cstdint>

namespace kvm_binding {

inline uint64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000ULL + static_cast<uint64_t>(now.tv_nsec);
}

// True when /sys names "tsc" as the clocksource: then every CPU's TSC is the same and constant.
bool tsc_is_clocksource();

// Nanoseconds of CLOCK_MONOTONIC from the TSC: anchored to the real clock again every 100 ms, each time with the rate measured over a
// longer baseline, so that neither the offset nor the rate can drift. One thread's own.
class LedgerClock {
public:
  LedgerClock();

  uint64_t now() {
    if (!use_tsc_) return monotonic_ns();
    const uint64_t tsc = __rdtsc();
    const uint64_t ticks = tsc - anchor_tsc_;
    if (ticks >= ticks_to_anchor_) [[unlikely]] return anchor(); // also when another CPU's TSC is behind the anchor
    return anchor_ns_ + static_cast<uint64_t>((static_cast<unsigned __int128>(ticks) * ns_per_tick_) >> 32);
  }

private:
  uint64_t anchor();

  bool use_tsc_;
  uint64_t first_tsc_ = 0;
  uint64_t first_ns_ = 0;
  uint64_t anchor_tsc_ = 0;
  uint64_t anchor_ns_ = 0;
  uint64_t ticks_to_anchor_ = 0;
  uint64_t ns_per_tick_ = 0; // 32.32 fixed point
};

} // namespace kvm_binding
