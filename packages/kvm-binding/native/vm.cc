#include "vm.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "arguments.h"
#include "error.h"
#include "memory.h"
#include "uapi.h"

namespace kvm_binding {

namespace {

// kvmOpen(path)
Napi::Value kvm_open(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const std::string path = arg_string(info, 0, "open", "path");
  const int number = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (number < 0) fail_errno(env, "open", path);
  auto fd = std::make_shared<Fd>(number, Kind::Kvm);
  const int version = ioctl(number, KVM_GET_API_VERSION, 0);
  if (version < 0) fail_errno(env, "KVM_GET_API_VERSION", path + " does not answer as KVM does");
  if (version != KVM_API_VERSION) fail(env, kUnsupported, "KVM_GET_API_VERSION", 0, "API version " + std::to_string(version) + ", not 12");
  return wrap(env, std::move(fd));
}

// kvmCreateVm(kvm, type)
Napi::Value kvm_create_vm(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &kvm = unwrap(env, info[0], Kind::Kvm, "KVM_CREATE_VM");
  const uint64_t type = arg_u64(info, 1, "KVM_CREATE_VM", "type");
  const int run_bytes = ioctl(kvm->number, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_bytes < static_cast<int>(kPageBytes)) fail_errno(env, "KVM_GET_VCPU_MMAP_SIZE");
  int number;
  do { // the kernel may be interrupted while it registers for the process's memory
    number = ioctl(kvm->number, KVM_CREATE_VM, type);
  } while (number < 0 && errno == EINTR);
  if (number < 0) fail_errno(env, "KVM_CREATE_VM", "type " + std::to_string(type));
  auto fd = std::make_shared<Fd>(number, Kind::Vm);
  auto state = std::make_shared<VmState>();
  state->run_bytes = static_cast<size_t>(run_bytes);
  fd->extension = state;
  return wrap(env, std::move(fd));
}

// vmSetUserMemoryRegion(vm, slot, flags, guestPhysAddr, memory | null, offset, size, guestMemfd | null, guestMemfdOffset)
// A size of 0 removes the slot. With a guestMemfd, KVM_SET_USER_MEMORY_REGION2.
Napi::Value vm_set_user_memory_region(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  constexpr const char *what = "KVM_SET_USER_MEMORY_REGION";
  const FdRef &vm = unwrap(env, info[0], Kind::Vm, what);
  kvm_userspace_memory_region2 region{};
  region.slot = arg_u32(info, 1, what, "slot");
  region.flags = arg_u32(info, 2, what, "flags");
  region.guest_phys_addr = arg_u64(info, 3, what, "guestPhysAddr");
  const uint64_t offset = arg_u64(info, 5, what, "offsetBytes");
  region.memory_size = arg_u64(info, 6, what, "sizeBytes");
  VmState::Slot slot;
  slot.size = region.memory_size;
  if (!info[4].IsNull()) {
    const MemoryState &memory = memory_of(unwrap(env, info[4], Kind::Memory, what));
    if (!memory.native->holds(offset, region.memory_size)) {
      fail_invalid(env, what, "the range is outside the memory's " + std::to_string(memory.size) + " bytes");
    }
    slot.memory = memory.native;
    region.userspace_addr = reinterpret_cast<uint64_t>(memory.native->base + offset);
  } else if (region.memory_size != 0) {
    fail_invalid(env, what, "a slot with a size needs memory");
  }
  const bool guest_memfd = !info[7].IsNull();
  if (guest_memfd) {
    region.guest_memfd = static_cast<uint32_t>(unwrap(env, info[7], Kind::GuestMemfd, what)->number);
    region.guest_memfd_offset = arg_u64(info, 8, what, "guestMemfdOffset");
    region.flags |= KVM_MEM_GUEST_MEMFD;
  }
  auto state = vm_state(vm);
  std::lock_guard lock(state->mutex);
  int result;
  if (guest_memfd) {
    result = ioctl(vm->number, KVM_SET_USER_MEMORY_REGION2, &region);
  } else { // the same first members
    static_assert(offsetof(kvm_userspace_memory_region, userspace_addr) == offsetof(kvm_userspace_memory_region2, userspace_addr));
    kvm_userspace_memory_region first{};
    std::memcpy(&first, &region, sizeof first);
    result = ioctl(vm->number, KVM_SET_USER_MEMORY_REGION, &first);
  }
  if (result != 0) {
    fail_errno(env, guest_memfd ? "KVM_SET_USER_MEMORY_REGION2" : what,
               "slot " + std::to_string(region.slot) + ", " + std::to_string(region.memory_size) + " bytes at guest address " +
                   std::to_string(region.guest_phys_addr));
  }
  // Only now may the old memory go: the kernel has let go of it.
  if (region.memory_size == 0) {
    state->slots.erase(region.slot);
  } else {
    state->slots[region.slot] = std::move(slot);
  }
  return env.Undefined();
}

uint64_t bitmap_bytes(uint64_t pages) { return (pages + 63) / 64 * 8; }

const VmState::Slot &need_slot(Napi::Env env, const VmState &state, uint32_t number, const char *what) {
  auto slot = state.slots.find(number);
  if (slot == state.slots.end()) fail_invalid(env, what, "no slot " + std::to_string(number) + " was set through this binding");
  return slot->second;
}

// vmGetDirtyLog(vm, slot, bitmap)
Napi::Value vm_get_dirty_log(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  constexpr const char *what = "KVM_GET_DIRTY_LOG";
  const FdRef &vm = unwrap(env, info[0], Kind::Vm, what);
  kvm_dirty_log log{};
  log.slot = arg_u32(info, 1, what, "slot");
  const Bytes bitmap = arg_bytes(info, 2, what, "bitmap");
  auto state = vm_state(vm);
  std::lock_guard lock(state->mutex);
  const uint64_t needed = bitmap_bytes(need_slot(env, *state, log.slot, what).size / kPageBytes);
  if (bitmap.size < needed) fail_invalid(env, what, "the bitmap must be " + std::to_string(needed) + " bytes or more");
  log.dirty_bitmap = bitmap.data;
  if (ioctl(vm->number, KVM_GET_DIRTY_LOG, &log) != 0) fail_errno(env, what, "slot " + std::to_string(log.slot));
  return env.Undefined();
}

// vmClearDirtyLog(vm, slot, firstPage, pageCount, bitmap)
Napi::Value vm_clear_dirty_log(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  constexpr const char *what = "KVM_CLEAR_DIRTY_LOG";
  const FdRef &vm = unwrap(env, info[0], Kind::Vm, what);
  kvm_clear_dirty_log log{};
  log.slot = arg_u32(info, 1, what, "slot");
  log.first_page = arg_u64(info, 2, what, "firstPage");
  log.num_pages = arg_u32(info, 3, what, "pageCount");
  const Bytes bitmap = arg_bytes(info, 4, what, "bitmap");
  const uint64_t needed = bitmap_bytes(log.num_pages);
  if (bitmap.size < needed) fail_invalid(env, what, "the bitmap must be " + std::to_string(needed) + " bytes or more");
  auto state = vm_state(vm);
  std::lock_guard lock(state->mutex);
  log.dirty_bitmap = bitmap.data;
  if (ioctl(vm->number, KVM_CLEAR_DIRTY_LOG, &log) != 0) fail_errno(env, what, "slot " + std::to_string(log.slot));
  return env.Undefined();
}

// vmSetMsrFilter(vm, flags, ...ranges): four arguments a range: flags, base, count, bitmap.
Napi::Value vm_set_msr_filter(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  constexpr const char *what = "KVM_X86_SET_MSR_FILTER";
  const FdRef &vm = unwrap(env, info[0], Kind::Vm, what);
  kvm_msr_filter filter{};
  filter.flags = arg_u32(info, 1, what, "flags");
  constexpr size_t kFirst = 2;
  constexpr size_t kEach = 4;
  if (info.Length() < kFirst || (info.Length() - kFirst) % kEach != 0 || (info.Length() - kFirst) / kEach > KVM_MSR_FILTER_MAX_RANGES) {
    fail_invalid(env, what, "at most 16 ranges of flags, base, count and bitmap");
  }
  for (size_t i = 0; i < (info.Length() - kFirst) / kEach; i++) {
    kvm_msr_filter_range &range = filter.ranges[i];
    range.flags = arg_u32(info, kFirst + i * kEach, what, "flags");
    range.base = arg_u32(info, kFirst + i * kEach + 1, what, "base");
    range.nmsrs = arg_u32(info, kFirst + i * kEach + 2, what, "count");
    const Bytes bitmap = arg_bytes(info, kFirst + i * kEach + 3, what, "bitmap");
    if (range.nmsrs > KVM_MSR_FILTER_MAX_BITMAP_SIZE * 8) fail_invalid(env, what, "a range holds at most 12288 MSRs");
    if (bitmap.size < bitmap_bytes(range.nmsrs)) fail_invalid(env, what, "a bitmap is shorter than its range (whole 64-bit words)");
    range.bitmap = bitmap.data;
  }
  if (ioctl(vm->number, KVM_X86_SET_MSR_FILTER, &filter) != 0) fail_errno(env, what);
  return env.Undefined();
}

// vmCreateGuestMemfd(vm, size, flags)
Napi::Value vm_create_guest_memfd(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  constexpr const char *what = "KVM_CREATE_GUEST_MEMFD";
  const FdRef &vm = unwrap(env, info[0], Kind::Vm, what);
  kvm_create_guest_memfd create{};
  create.size = arg_u64(info, 1, what, "sizeBytes");
  create.flags = arg_u64(info, 2, what, "flags");
  const int number = ioctl(vm->number, KVM_CREATE_GUEST_MEMFD, &create);
  if (number < 0) fail_errno(env, what, std::to_string(create.size) + " bytes");
  fcntl(number, F_SETFD, FD_CLOEXEC);
  return wrap(env, std::make_shared<Fd>(number, Kind::GuestMemfd));
}

// vmCreateDevice(vm, type, flags): a handle, or null when flags ask for a test only.
Napi::Value vm_create_device(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  constexpr const char *what = "KVM_CREATE_DEVICE";
  const FdRef &vm = unwrap(env, info[0], Kind::Vm, what);
  kvm_create_device create{};
  create.type = arg_u32(info, 1, what, "type");
  create.flags = arg_u32(info, 2, what, "flags");
  if (ioctl(vm->number, KVM_CREATE_DEVICE, &create) != 0) fail_errno(env, what, "type " + std::to_string(create.type));
  if ((create.flags & KVM_CREATE_DEVICE_TEST) != 0) return env.Null();
  return wrap(env, std::make_shared<Fd>(static_cast<int>(create.fd), Kind::Device));
}

// getStatsFd(vm or vCPU)
Napi::Value get_stats_fd(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &owner = unwrap(env, info[0], Kind::Vm | Kind::Vcpu, "KVM_GET_STATS_FD");
  const int number = ioctl(owner->number, KVM_GET_STATS_FD, 0);
  if (number < 0) fail_errno(env, "KVM_GET_STATS_FD");
  fcntl(number, F_SETFD, FD_CLOEXEC);
  return wrap(env, std::make_shared<Fd>(number, Kind::Stats));
}

// vmIrqLine(vm, gsi, level): KVM_IRQ_LINE with no struct to build; a device model calls it at every edge.
Napi::Value vm_irq_line(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &vm = unwrap(env, info[0], Kind::Vm, "KVM_IRQ_LINE");
  kvm_irq_level level{};
  level.irq = arg_u32(info, 1, "KVM_IRQ_LINE", "gsi");
  level.level = arg_u32(info, 2, "KVM_IRQ_LINE", "level");
  if (ioctl(vm->number, KVM_IRQ_LINE, &level) != 0) fail_errno(env, "KVM_IRQ_LINE", "GSI " + std::to_string(level.irq));
  return env.Undefined();
}

// deviceAttr(handle, request, group, attr, bytes): KVM_GET/SET/HAS_DEVICE_ATTR on any of the handles that have attributes.
// The kernel decides how many bytes an attribute has, so it works on a copy with room to spare.
Napi::Value device_attr(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &owner = unwrap(env, info[0], Kind::Kvm | Kind::Vm | Kind::Vcpu | Kind::Device, "KVM_GET_DEVICE_ATTR");
  const uint32_t request = arg_u32(info, 1, "KVM_GET_DEVICE_ATTR", "request");
  const char *what = request == KVM_GET_DEVICE_ATTR   ? "KVM_GET_DEVICE_ATTR"
                     : request == KVM_SET_DEVICE_ATTR ? "KVM_SET_DEVICE_ATTR"
                     : request == KVM_HAS_DEVICE_ATTR ? "KVM_HAS_DEVICE_ATTR"
                                                      : nullptr;
  if (what == nullptr) fail_invalid(env, "KVM_GET_DEVICE_ATTR", "not one of the device attribute requests");
  kvm_device_attr attr{};
  attr.group = arg_u32(info, 2, what, "group");
  attr.attr = arg_u64(info, 3, what, "attr");
  const Bytes bytes = arg_bytes(info, 4, what, "bytes");
  alignas(8) uint8_t copy[4096] = {};
  if (bytes.size > sizeof copy) fail_invalid(env, what, "an attribute is at most 4096 bytes");
  if (bytes.size != 0) std::memcpy(copy, bytes.data, bytes.size);
  attr.addr = reinterpret_cast<uint64_t>(copy);
  if (ioctl(owner->number, request, &attr) != 0) {
    fail_errno(env, what, "group " + std::to_string(attr.group) + ", attribute " + std::to_string(attr.attr));
  }
  if (request == KVM_GET_DEVICE_ATTR && bytes.size != 0) std::memcpy(bytes.data, copy, bytes.size);
  return env.Undefined();
}

} // namespace

void init_vm(Napi::Env env, Napi::Object exports) {
  exports.Set("kvmOpen", Napi::Function::New(env, kvm_open, "kvmOpen"));
  exports.Set("kvmCreateVm", Napi::Function::New(env, kvm_create_vm, "kvmCreateVm"));
  exports.Set("vmSetUserMemoryRegion", Napi::Function::New(env, vm_set_user_memory_region, "vmSetUserMemoryRegion"));
  exports.Set("vmGetDirtyLog", Napi::Function::New(env, vm_get_dirty_log, "vmGetDirtyLog"));
  exports.Set("vmClearDirtyLog", Napi::Function::New(env, vm_clear_dirty_log, "vmClearDirtyLog"));
  exports.Set("vmSetMsrFilter", Napi::Function::New(env, vm_set_msr_filter, "vmSetMsrFilter"));
  exports.Set("vmCreateGuestMemfd", Napi::Function::New(env, vm_create_guest_memfd, "vmCreateGuestMemfd"));
  exports.Set("vmCreateDevice", Napi::Function::New(env, vm_create_device, "vmCreateDevice"));
  exports.Set("vmIrqLine", Napi::Function::New(env, vm_irq_line, "vmIrqLine"));
  exports.Set("getStatsFd", Napi::Function::New(env, get_stats_fd, "getStatsFd"));
  exports.Set("deviceAttr", Napi::Function::New(env, device_attr, "deviceAttr"));
}

} // namespace kvm_binding
