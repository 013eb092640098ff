// Memory mapped from a descriptor, unmapped with the last reference.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace kvm_binding {

struct Mapping {
  uint8_t *const base;
  const size_t size;

  Mapping(uint8_t *base, size_t size) : base(base), size(size) {}
  ~Mapping() { ::munmap(base, size); }
  Mapping(const Mapping &) = delete;
  Mapping &operator=(const Mapping &) = delete;

  // nullptr with errno set when the kernel refuses.
  static std::shared_ptr<Mapping> make(int fd, size_t size, int protection, off_t offset = 0) {
    void *base = ::mmap(nullptr, size, protection, MAP_SHARED, fd, offset);
    if (base == MAP_FAILED) return nullptr;
    return std::make_shared<Mapping>(static_cast<uint8_t *>(base), size);
  }

  bool holds(uint64_t offset, uint64_t length) const { return offset <= size && length <= size - offset; }
};

inline constexpr size_t kPageBytes = 4096;

} // namespace kvm_binding
