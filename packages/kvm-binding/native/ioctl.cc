// The ioctls whose argument is a number or a struct without pointers. A request that is not in this table is refused, and so is a
// buffer shorter than what the kernel would read or write: nothing that JavaScript passes can make the kernel touch other memory.
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "arguments.h"
#include "error.h"
#include "handle.h"
#include "ioctl.h"
#include "uapi.h"
#include "vm.h"

namespace kvm_binding {

namespace {

enum class Shape : uint8_t {
  Number, // the argument is the value itself
  Struct, // `size` bytes
  Counted // `size` bytes of head with a count in it, then that many elements
};

struct Rule {
  unsigned long request;
  const char *name;
  uint32_t kinds;
  Shape shape;
  uint32_t size;
  uint32_t count_offset;
  uint32_t element_bytes;
};

#define NUMBER(request, kinds) {request, #request, (kinds) | 0u, Shape::Number, 0, 0, 0}
#define STRUCT(request, kinds) {request, #request, (kinds) | 0u, Shape::Struct, _IOC_SIZE(request), 0, 0}
#define SIZED(request, kinds, size) {request, #request, (kinds) | 0u, Shape::Struct, size, 0, 0}
#define COUNTED(request, kinds, head, count_offset, element_bytes) \
  {request, #request, (kinds) | 0u, Shape::Counted, head, count_offset, element_bytes}

constexpr uint32_t kKvm = mask(Kind::Kvm);
constexpr uint32_t kVm = mask(Kind::Vm);
constexpr uint32_t kVcpu = mask(Kind::Vcpu);

constexpr Rule kRules[] = {
    // system
    NUMBER(KVM_GET_API_VERSION, kKvm),
    NUMBER(KVM_CHECK_EXTENSION, kKvm | kVm),
    NUMBER(KVM_GET_VCPU_MMAP_SIZE, kKvm),
    COUNTED(KVM_GET_MSR_INDEX_LIST, kKvm, sizeof(kvm_msr_list), offsetof(kvm_msr_list, nmsrs), 4),
    COUNTED(KVM_GET_MSR_FEATURE_INDEX_LIST, kKvm, sizeof(kvm_msr_list), offsetof(kvm_msr_list, nmsrs), 4),
    COUNTED(KVM_GET_SUPPORTED_CPUID, kKvm, sizeof(kvm_cpuid2), offsetof(kvm_cpuid2, nent), sizeof(kvm_cpuid_entry2)),
    COUNTED(KVM_GET_EMULATED_CPUID, kKvm, sizeof(kvm_cpuid2), offsetof(kvm_cpuid2, nent), sizeof(kvm_cpuid_entry2)),
    COUNTED(KVM_GET_SUPPORTED_HV_CPUID, kKvm | kVcpu, sizeof(kvm_cpuid2), offsetof(kvm_cpuid2, nent), sizeof(kvm_cpuid_entry2)),
    STRUCT(KVM_X86_GET_MCE_CAP_SUPPORTED, kKvm),

    // VM
    STRUCT(KVM_ENABLE_CAP, kVm | kVcpu),
    NUMBER(KVM_SET_TSS_ADDR, kVm),
    STRUCT(KVM_SET_IDENTITY_MAP_ADDR, kVm),
    NUMBER(KVM_SET_BOOT_CPU_ID, kVm),
    NUMBER(KVM_SET_NR_MMU_PAGES, kVm),
    NUMBER(KVM_CREATE_IRQCHIP, kVm),
    STRUCT(KVM_IRQ_LINE_STATUS, kVm),
    STRUCT(KVM_GET_IRQCHIP, kVm),
    SIZED(KVM_SET_IRQCHIP, kVm, sizeof(kvm_irqchip)),
    STRUCT(KVM_CREATE_PIT2, kVm),
    STRUCT(KVM_GET_PIT2, kVm),
    STRUCT(KVM_SET_PIT2, kVm),
    SIZED(KVM_REINJECT_CONTROL, kVm, sizeof(kvm_reinject_control)),
    COUNTED(KVM_SET_GSI_ROUTING, kVm, sizeof(kvm_irq_routing), offsetof(kvm_irq_routing, nr), sizeof(kvm_irq_routing_entry)),
    STRUCT(KVM_IRQFD, kVm),
    STRUCT(KVM_IOEVENTFD, kVm),
    STRUCT(KVM_REGISTER_COALESCED_MMIO, kVm),
    STRUCT(KVM_UNREGISTER_COALESCED_MMIO, kVm),
    STRUCT(KVM_SIGNAL_MSI, kVm),
    STRUCT(KVM_GET_CLOCK, kVm),
    STRUCT(KVM_SET_CLOCK, kVm),
    NUMBER(KVM_SET_TSC_KHZ, kVm | kVcpu),
    NUMBER(KVM_GET_TSC_KHZ, kVm | kVcpu),
    NUMBER(KVM_RESET_DIRTY_RINGS, kVm),
    COUNTED(KVM_SET_PMU_EVENT_FILTER, kVm, sizeof(kvm_pmu_event_filter), offsetof(kvm_pmu_event_filter, nevents), 8),
    STRUCT(KVM_HYPERV_EVENTFD, kVm),
    STRUCT(KVM_SET_MEMORY_ATTRIBUTES, kVm),

    // vCPU
    STRUCT(KVM_GET_REGS, kVcpu),
    STRUCT(KVM_SET_REGS, kVcpu),
    STRUCT(KVM_GET_SREGS, kVcpu),
    STRUCT(KVM_SET_SREGS, kVcpu),
    STRUCT(KVM_GET_SREGS2, kVcpu),
    STRUCT(KVM_SET_SREGS2, kVcpu),
    STRUCT(KVM_TRANSLATE, kVcpu),
    STRUCT(KVM_INTERRUPT, kVcpu),
    COUNTED(KVM_GET_MSRS, kKvm | kVcpu, sizeof(kvm_msrs), offsetof(kvm_msrs, nmsrs), sizeof(kvm_msr_entry)),
    COUNTED(KVM_SET_MSRS, kVcpu, sizeof(kvm_msrs), offsetof(kvm_msrs, nmsrs), sizeof(kvm_msr_entry)),
    COUNTED(KVM_SET_CPUID2, kVcpu, sizeof(kvm_cpuid2), offsetof(kvm_cpuid2, nent), sizeof(kvm_cpuid_entry2)),
    COUNTED(KVM_GET_CPUID2, kVcpu, sizeof(kvm_cpuid2), offsetof(kvm_cpuid2, nent), sizeof(kvm_cpuid_entry2)),
    STRUCT(KVM_GET_FPU, kVcpu),
    STRUCT(KVM_SET_FPU, kVcpu),
    STRUCT(KVM_GET_XSAVE, kVcpu),
    STRUCT(KVM_GET_XCRS, kVcpu),
    STRUCT(KVM_SET_XCRS, kVcpu),
    STRUCT(KVM_GET_LAPIC, kVcpu),
    STRUCT(KVM_SET_LAPIC, kVcpu),
    STRUCT(KVM_TPR_ACCESS_REPORTING, kVcpu),
    STRUCT(KVM_SET_VAPIC_ADDR, kVcpu),
    STRUCT(KVM_GET_MP_STATE, kVcpu),
    STRUCT(KVM_SET_MP_STATE, kVcpu),
    NUMBER(KVM_NMI, kVcpu),
    NUMBER(KVM_SMI, kVcpu),
    STRUCT(KVM_SET_GUEST_DEBUG, kVcpu),
    STRUCT(KVM_X86_SETUP_MCE, kVcpu),
    STRUCT(KVM_X86_SET_MCE, kVcpu),
    STRUCT(KVM_GET_VCPU_EVENTS, kVcpu),
    STRUCT(KVM_SET_VCPU_EVENTS, kVcpu),
    STRUCT(KVM_GET_DEBUGREGS, kVcpu),
    STRUCT(KVM_SET_DEBUGREGS, kVcpu),
    NUMBER(KVM_KVMCLOCK_CTRL, kVcpu),
    // The size member counts the whole struct, head included.
    COUNTED(KVM_GET_NESTED_STATE, kVcpu, 0, offsetof(kvm_nested_state, size), 1),
    COUNTED(KVM_SET_NESTED_STATE, kVcpu, 0, offsetof(kvm_nested_state, size), 1),
    STRUCT(KVM_PRE_FAULT_MEMORY, kVcpu),
};

const Rule &need_rule(Napi::Env env, unsigned long request) {
  const auto *rule = std::find_if(std::begin(kRules), std::end(kRules), [request](const Rule &r) { return r.request == request; });
  if (rule == std::end(kRules)) fail_invalid(env, "ioctl", "request " + std::to_string(request) + " is not one this binding passes on");
  return *rule;
}

// ioctl(handle, request, value): the ioctl's own result.
Napi::Value ioctl_number(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const Rule &rule = need_rule(env, arg_u32(info, 1, "ioctl", "request"));
  const FdRef &fd = unwrap(env, info[0], rule.kinds, rule.name);
  const uint64_t value = arg_u64(info, 2, rule.name, "value");
  if (rule.shape != Shape::Number) fail_invalid(env, rule.name, "it takes a struct, not a number");
  const int result = ioctl(fd->number, rule.request, value);
  if (result < 0) fail_errno(env, rule.name, "value " + std::to_string(value));
  return Napi::Number::New(env, result);
}

// ioctlBytes(handle, request, bytes): the ioctl's own result; what the kernel writes is in `bytes`.
Napi::Value ioctl_bytes(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const Rule &rule = need_rule(env, arg_u32(info, 1, "ioctl", "request"));
  const FdRef &fd = unwrap(env, info[0], rule.kinds, rule.name);
  const Bytes bytes = arg_private_bytes(info, 2, rule.name, "bytes");
  if (rule.shape == Shape::Number) fail_invalid(env, rule.name, "it takes a number, not a struct");
  uint64_t needed = rule.size;
  if (rule.shape == Shape::Counted) {
    needed = std::max<uint64_t>(rule.size, rule.count_offset + sizeof(uint32_t));
    // A head alone is what the kernel reads first, even of an ioctl that then finds the count too large.
    needed = std::max<uint64_t>(needed, _IOC_SIZE(rule.request));
    if (bytes.size >= needed) {
      uint32_t count;
      std::memcpy(&count, bytes.data + rule.count_offset, sizeof count);
      needed = std::max<uint64_t>(needed, rule.size + static_cast<uint64_t>(count) * rule.element_bytes);
    }
  }
  if (bytes.size < needed) fail_invalid(env, rule.name, std::to_string(bytes.size) + " bytes given, " + std::to_string(needed) + " needed");
  const int result = ioctl(fd->number, rule.request, bytes.data);
  if (result < 0) fail_errno(env, rule.name);
  if (rule.request == KVM_ENABLE_CAP && fd->kind == Kind::Vm) {
    kvm_enable_cap cap;
    std::memcpy(&cap, bytes.data, sizeof cap);
    if (cap.cap == KVM_CAP_DIRTY_LOG_RING || cap.cap == KVM_CAP_DIRTY_LOG_RING_ACQ_REL) {
      vm_state(fd)->dirty_ring_bytes = static_cast<uint32_t>(cap.args[0]);
    }
  }
  return Napi::Number::New(env, result);
}

// ioctlTable(): the table above as [name, request, kinds] for tests and documentation.
Napi::Value ioctl_table(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Napi::Array table = Napi::Array::New(env);
  uint32_t row = 0;
  for (const Rule &rule : kRules) {
    Napi::Array cells = Napi::Array::New(env, 4);
    cells.Set(0u, Napi::String::New(env, rule.name));
    cells.Set(1u, Napi::Number::New(env, static_cast<double>(rule.request)));
    cells.Set(2u, Napi::Number::New(env, rule.kinds));
    cells.Set(3u, Napi::Number::New(env, rule.size));
    table.Set(row++, cells);
  }
  return table;
}

} // namespace

void init_ioctl(Napi::Env env, Napi::Object exports) {
  exports.Set("ioctl", Napi::Function::New(env, ioctl_number, "ioctl"));
  exports.Set("ioctlBytes", Napi::Function::New(env, ioctl_bytes, "ioctlBytes"));
  exports.Set("ioctlTable", Napi::Function::New(env, ioctl_table, "ioctlTable"));
}

} // namespace kvm_binding
