// What the ledger's accounting costs by itself: enter() and leave() of native/ledger.h, as run() calls them, with no ioctl between.
// Prints nanoseconds an exit: the accounting, and for comparison what two readings of CLOCK_MONOTONIC alone would cost.
#include <cstdio>
#include <cstring>

#include "../native/ledger.h"

using namespace kvm_binding;

int main() {
  constexpr uint32_t kSlots = 66;
  constexpr size_t kSize = (kLedgerVcpuHeaderBytes + kSlots * sizeof(LedgerSlot) + kPageBytes - 1) / kPageBytes * kPageBytes;
  auto *base = static_cast<uint8_t *>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  auto memory = std::make_shared<Mapping>(base, kSize);
  LedgerWriter writer(memory, base, kSlots);
  auto *slot = reinterpret_cast<volatile uint32_t *>(base + offsetof(LedgerVcpuHeader, current_slot));
  constexpr long kExits = 20'000'000;
  const uint64_t start = monotonic_ns();
  for (long i = 0; i < kExits; i++) {
    writer.enter(1);
    writer.leave(2);
    *slot = 64 + (i & 1);
  }
  const double accounting = static_cast<double>(monotonic_ns() - start) / kExits;
  volatile uint64_t sum = 0;
  const uint64_t again = monotonic_ns();
  for (long i = 0; i < kExits; i++) sum = sum + monotonic_ns() + monotonic_ns();
  const double clocks = static_cast<double>(monotonic_ns() - again) / kExits;
  std::printf("%.1f %.1f %s\n", accounting, clocks, tsc_is_clocksource() ? "tsc" : "clock_gettime");
  return 0;
}
