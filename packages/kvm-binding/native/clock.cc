#include "clock.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>

namespace kvm_binding {

namespace {

struct Reading {
  uint64_t tsc;
  uint64_t ns;
};

// Both clocks at one moment: the pair whose two TSC readings lie closest together.
Reading read_both() {
  Reading best{0, 0};
  uint64_t narrowest = UINT64_MAX;
  for (int i = 0; i < 5; i++) {
    const uint64_t before = __rdtsc();
    const uint64_t ns = monotonic_ns();
    const uint64_t after = __rdtsc();
    if (after - before < narrowest) {
      narrowest = after - before;
      best = {before + (after - before) / 2, ns};
    }
  }
  return best;
}

// The first reading of the process: the start of everybody's baseline.
const Reading &first_reading() {
  static const Reading first = read_both();
  return first;
}

[[maybe_unused]] const Reading &kTakenWhenLoaded = first_reading();

constexpr uint64_t kShortestBaselineNs = 2'000'000;
constexpr uint64_t kAnchorEveryNs = 100'000'000;

} // namespace

bool tsc_is_clocksource() {
  static const bool answer = [] {
    char name[16] = {};
    const int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const ssize_t length = read(fd, name, sizeof name - 1);
    close(fd);
    return length >= 3 && std::strncmp(name, "tsc\n", 4) == 0;
  }();
  return answer;
}

LedgerClock::LedgerClock() : use_tsc_(tsc_is_clocksource()) {
  first_tsc_ = first_reading().tsc;
  first_ns_ = first_reading().ns;
  if (use_tsc_) anchor();
}

uint64_t LedgerClock::anchor() {
  Reading now = read_both();
  while (now.ns - first_ns_ < kShortestBaselineNs) now = read_both();
  if (now.tsc <= first_tsc_) { // not a TSC to trust
    use_tsc_ = false;
    return monotonic_ns();
  }
  ns_per_tick_ = static_cast<uint64_t>((static_cast<unsigned __int128>(now.ns - first_ns_) << 32) / (now.tsc - first_tsc_));
  anchor_tsc_ = now.tsc;
  anchor_ns_ = now.ns;
  ticks_to_anchor_ = static_cast<uint64_t>((static_cast<unsigned __int128>(kAnchorEveryNs) << 32) / (ns_per_tick_ == 0 ? 1 : ns_per_tick_));
  return now.ns;
}

} // namespace kvm_binding
