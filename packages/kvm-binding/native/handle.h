// File descriptors as JavaScript sees them.
//
// An Fd owns one file descriptor and closes it in its destructor. A JavaScript handle is an object wrapped around a Cell, which holds
// one shared_ptr<Fd>; other Workers hold their own Cell over the same Fd. A Cell belongs to its thread, so while a native call
// runs nobody can empty the Cell it came from: the number it uses cannot be closed, and so cannot be recycled, under it.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>

namespace kvm_binding {

enum class Kind : uint32_t {
  Kvm = 1 << 0,
  Vm = 1 << 1,
  Vcpu = 1 << 2,
  EventFd = 1 << 3,
  Memory = 1 << 4,
  Stats = 1 << 5,
  Perf = 1 << 6,
  Tap = 1 << 7,
  Socket = 1 << 8,
  GuestMemfd = 1 << 9,
  Device = 1 << 10,
  Poller = 1 << 11,
  File = 1 << 12,
  FileRing = 1 << 13,
};

const char *kind_name(Kind kind);

// What a kind of handle has beside its number: mappings, the thread that runs it.
struct Extension {
  virtual ~Extension() = default;
};

class Fd {
public:
  Fd(int number, Kind kind) : number(number), kind(kind) {}
  ~Fd();
  Fd(const Fd &) = delete;
  Fd &operator=(const Fd &) = delete;

  const int number;
  const Kind kind;
  uint64_t token = 0; // guarded by the table's mutex
  std::shared_ptr<Extension> extension;
};

using FdRef = std::shared_ptr<Fd>;

// What a handle must keep alive in its own JavaScript environment, let go after the Fd.
struct Pin {
  virtual ~Pin() = default;
};

struct Cell {
  FdRef fd;
  std::unique_ptr<Pin> pin;
  void clear() {
    fd.reset();
    pin.reset();
  }
  ~Cell() { clear(); }
};

// A JavaScript handle over `fd`.
Napi::Value wrap(Napi::Env env, FdRef fd, std::unique_ptr<Pin> pin = nullptr);

// The Fd behind a JavaScript handle. Throws TypeError for anything that is no handle, INVALID for a kind not in `kinds`
// (a mask), CLOSED after close. The reference is valid for the duration of the native call.
const FdRef &unwrap(Napi::Env env, napi_value value, uint32_t kinds, const char *what);

inline const FdRef &unwrap(Napi::Env env, napi_value value, Kind kind, const char *what) {
  return unwrap(env, value, static_cast<uint32_t>(kind), what);
}

constexpr uint32_t mask(Kind a) { return static_cast<uint32_t>(a); }
constexpr uint32_t operator|(Kind a, Kind b) { return mask(a) | mask(b); }
constexpr uint32_t operator|(uint32_t a, Kind b) { return a | mask(b); }
inline constexpr uint32_t kAnyKind = 0xffffffff;

// The Cell behind a handle, open or closed: for native functions that outlive one call (they hold it and see close() through it).
std::shared_ptr<Cell> unwrap_cell(Napi::Env env, napi_value value, const char *what);

void init_handles(Napi::Env env, Napi::Object exports);

} // namespace kvm_binding
