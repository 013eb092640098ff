#include "vcpu.h"

#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arguments.h"
#include "error.h"
#include "memory.h"
#include "uapi.h"

namespace kvm_binding {

namespace {

// The signal that takes a thread out of KVM_RUN. Real-time signals are nobody's by convention, and Node uses none.
const int kKickSignal = SIGRTMIN + 4;

void install_kick_signal() {
  static const bool installed = [] {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART; // system calls other than KVM_RUN go on as if nothing had come
    sigemptyset(&action.sa_mask);
    sigaction(kKickSignal, &action, nullptr);
    return true;
  }();
  (void)installed;
}

int this_thread() {
  thread_local const int tid = [] {
    sigset_t kick;
    sigemptyset(&kick);
    sigaddset(&kick, kKickSignal);
    pthread_sigmask(SIG_UNBLOCK, &kick, nullptr);
    return static_cast<int>(syscall(SYS_gettid));
  }();
  return tid;
}

std::atomic_ref<uint8_t> immediate_exit(kvm_run *run) { return std::atomic_ref<uint8_t>(run->immediate_exit); }

VcpuState &state_of(const FdRef &fd) { return static_cast<VcpuState &>(*fd->extension); }

// Holds the vCPU against other threads for one operation outside KVM_RUN.
class Hold {
public:
  Hold(Napi::Env env, VcpuState &vcpu, const char *what) : vcpu_(vcpu) {
    int nobody = 0;
    if (!vcpu.runner.compare_exchange_strong(nobody, this_thread())) {
      fail(env, kWrongThread, what, 0, "thread " + std::to_string(nobody) + " is inside run() of this vCPU");
    }
  }
  ~Hold() { vcpu_.runner.store(0); }

private:
  VcpuState &vcpu_;
};

// vmCreateVcpu(vm, id)
Napi::Value vm_create_vcpu(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &vm = unwrap(env, info[0], Kind::Vm, "KVM_CREATE_VCPU");
  const uint32_t id = arg_u32(info, 1, "KVM_CREATE_VCPU", "id");
  const int number = ioctl(vm->number, KVM_CREATE_VCPU, static_cast<unsigned long>(id));
  if (number < 0) fail_errno(env, "KVM_CREATE_VCPU", "vCPU " + std::to_string(id));
  auto fd = std::make_shared<Fd>(number, Kind::Vcpu);
  auto state = std::make_shared<VcpuState>();
  state->vm = vm_state(vm);
  state->id = id;
  state->run_page = Mapping::make(number, state->vm->run_bytes, PROT_READ | PROT_WRITE);
  if (state->run_page == nullptr) fail_errno(env, "mmap", "the run page of vCPU " + std::to_string(id));
  fd->extension = state;
  install_kick_signal();
  return wrap(env, std::move(fd));
}

Napi::Value vcpu_id(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), state_of(unwrap(info.Env(), info[0], Kind::Vcpu, "id")).id);
}

// The body of the function that vcpuRunner returns. No argument, no allocation, no exception on the way of a guest exit.
napi_value run_callback(napi_env env, napi_callback_info info) {
  void *data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  Cell &cell = **static_cast<std::shared_ptr<Cell> *>(data);
  int result = 0;
  if (cell.fd != nullptr) [[likely]] {
    result = static_cast<VcpuState &>(*cell.fd->extension).run(cell.fd->number);
    if (result >= 0 || result == -EINTR || result == -EAGAIN) [[likely]] {
      napi_value value = nullptr;
      napi_create_int32(env, result, &value);
      return value;
    }
  }
  try {
    if (cell.fd == nullptr) fail(env, kClosed, "KVM_RUN", 0, "the vCPU is closed");
    if (result == kBusyElsewhere) fail(env, kWrongThread, "KVM_RUN", 0, "another thread is inside run() of this vCPU");
    fail(env, kErrno, "KVM_RUN", -result, "vCPU " + std::to_string(state_of(cell.fd).id));
  } catch (const Napi::Error &error) {
    error.ThrowAsJavaScriptException();
  }
  return nullptr;
}

// vcpuRunner(vcpu): a function that runs it. It holds the handle's cell, so it sees close() and keeps nothing open.
Napi::Value vcpu_runner(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  unwrap(env, info[0], Kind::Vcpu, "KVM_RUN");
  auto cell = std::make_unique<std::shared_ptr<Cell>>(unwrap_cell(env, info[0], "KVM_RUN"));
  napi_value function = nullptr;
  if (napi_create_function(env, "run", NAPI_AUTO_LENGTH, run_callback, cell.get(), &function) != napi_ok) throw Napi::Error::New(env);
  const napi_status status = napi_add_finalizer(
      env, function, cell.get(), [](napi_env, void *data, void *) { delete static_cast<std::shared_ptr<Cell> *>(data); }, nullptr, nullptr);
  if (status != napi_ok) throw Napi::Error::New(env);
  cell.release();
  return Napi::Value(env, function);
}

Napi::Value vcpu_kick(const Napi::CallbackInfo &info) {
  state_of(unwrap(info.Env(), info[0], Kind::Vcpu, "kick")).kick();
  return info.Env().Undefined();
}

// An ArrayBuffer over a mapping; the mapping stays until the buffer is collected, so that a stale view reads stale bytes.
Napi::Value external_buffer(Napi::Env env, const std::shared_ptr<Mapping> &mapping) {
  auto keep = std::make_unique<std::shared_ptr<Mapping>>(mapping);
  napi_value buffer = nullptr;
  const napi_status status = napi_create_external_arraybuffer(
      env, mapping->base, mapping->size, [](napi_env, void *, void *hint) { delete static_cast<std::shared_ptr<Mapping> *>(hint); },
      keep.get(), &buffer);
  if (status != napi_ok) throw Napi::Error::New(env);
  keep.release();
  return Napi::Value(env, buffer);
}

// vcpuRunPage(vcpu)
Napi::Value vcpu_run_page(const Napi::CallbackInfo &info) {
  const FdRef &vcpu = unwrap(info.Env(), info[0], Kind::Vcpu, "runPage");
  return external_buffer(info.Env(), state_of(vcpu).run_page);
}

// vcpuUseLedger(vcpu, ledger | null, blockOffset, slotCount)
Napi::Value vcpu_use_ledger(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &fd = unwrap(env, info[0], Kind::Vcpu, "useLedger");
  VcpuState &vcpu = state_of(fd);
  if (info[1].IsNull()) {
    Hold hold(env, vcpu, "useLedger");
    if (vcpu.ledger) vcpu.ledger->flush();
    vcpu.ledger.reset();
    return env.Undefined();
  }
  const MemoryState &memory = memory_of(unwrap(env, info[1], Kind::Memory, "useLedger"));
  const uint64_t offset = arg_u64(info, 2, "useLedger", "blockOffset");
  const uint32_t slots = arg_u32(info, 3, "useLedger", "slotCount");
  const uint64_t length = kLedgerVcpuHeaderBytes + static_cast<uint64_t>(slots) * sizeof(LedgerSlot);
  if (slots < kLedgerFirstDeviceSlot || offset % kPageBytes != 0 || !memory.native->holds(offset, length)) {
    fail_invalid(env, "useLedger", "no block of " + std::to_string(slots) + " slots at " + std::to_string(offset));
  }
  Hold hold(env, vcpu, "useLedger");
  vcpu.ledger.emplace(memory.native, memory.native->base + offset, slots);
  return env.Undefined();
}

// ledgerBucket(ns): the writer's histogram function, for the test that compares it with the reader's.
Napi::Value ledger_bucket_of(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), ledger_bucket(arg_u64(info, 0, "ledgerBucket", "ns")));
}

// vcpuSetSignalMask(vcpu, bytes | null): the signals blocked while the guest runs, 8 bytes; null undoes it.
Napi::Value vcpu_set_signal_mask(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  constexpr const char *what = "KVM_SET_SIGNAL_MASK";
  const FdRef &vcpu = unwrap(env, info[0], Kind::Vcpu, what);
  constexpr size_t kKernelSignalSetBytes = 8;
  struct {
    uint32_t length;
    uint8_t set[kKernelSignalSetBytes];
  } mask = {kKernelSignalSetBytes, {}};
  static_assert(sizeof mask == 12);
  void *argument = nullptr;
  if (!info[1].IsNull()) {
    const Bytes bytes = arg_bytes(info, 1, what, "mask");
    if (bytes.size != kKernelSignalSetBytes) fail_invalid(env, what, "a signal set is 8 bytes");
    std::memcpy(mask.set, bytes.data, kKernelSignalSetBytes);
    argument = &mask;
  }
  if (ioctl(vcpu->number, KVM_SET_SIGNAL_MASK, argument) != 0) fail_errno(env, what);
  return env.Undefined();
}

// The kernel moves as many XSAVE bytes as the host has state for, so it works on a copy with room for any of them.
constexpr size_t kXsaveRoom = 64 * 1024;

// vcpuGetXsave2(vcpu, bytes)
Napi::Value vcpu_get_xsave2(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &vcpu = unwrap(env, info[0], Kind::Vcpu, "KVM_GET_XSAVE2");
  const Bytes bytes = arg_bytes(info, 1, "KVM_GET_XSAVE2", "bytes");
  if (bytes.size > kXsaveRoom) fail_invalid(env, "KVM_GET_XSAVE2", "more than 64 KiB");
  auto copy = std::make_unique<uint8_t[]>(kXsaveRoom);
  if (ioctl(vcpu->number, KVM_GET_XSAVE2, copy.get()) != 0) fail_errno(env, "KVM_GET_XSAVE2");
  if (bytes.size != 0) std::memcpy(bytes.data, copy.get(), bytes.size);
  return env.Undefined();
}

// vcpuSetXsave(vcpu, bytes)
Napi::Value vcpu_set_xsave(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &vcpu = unwrap(env, info[0], Kind::Vcpu, "KVM_SET_XSAVE");
  const Bytes bytes = arg_bytes(info, 1, "KVM_SET_XSAVE", "bytes");
  if (bytes.size < sizeof(kvm_xsave) || bytes.size > kXsaveRoom) fail_invalid(env, "KVM_SET_XSAVE", "an XSAVE area is 4096 bytes to 64 KiB");
  auto copy = std::make_unique<uint8_t[]>(kXsaveRoom);
  std::memcpy(copy.get(), bytes.data, bytes.size);
  if (ioctl(vcpu->number, KVM_SET_XSAVE, copy.get()) != 0) fail_errno(env, "KVM_SET_XSAVE");
  return env.Undefined();
}

// vcpuOneReg(vcpu, set, id, bytes): the register's size is in its id.
Napi::Value vcpu_one_reg(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &vcpu = unwrap(env, info[0], Kind::Vcpu, "KVM_GET_ONE_REG");
  const bool set = arg_bool(info, 1, "KVM_GET_ONE_REG", "set");
  const char *what = set ? "KVM_SET_ONE_REG" : "KVM_GET_ONE_REG";
  const uint64_t id = arg_u64(info, 2, what, "id");
  const Bytes bytes = arg_bytes(info, 3, what, "bytes");
  alignas(16) uint8_t copy[1 << 15] = {}; // the size field is 4 bits: 2^15 bytes at most
  const size_t size = size_t{1} << ((id & KVM_REG_SIZE_MASK) >> KVM_REG_SIZE_SHIFT);
  if (bytes.size != size) fail_invalid(env, what, "this register is " + std::to_string(size) + " bytes");
  std::memcpy(copy, bytes.data, size);
  kvm_one_reg reg = {id, reinterpret_cast<uint64_t>(copy)};
  if (ioctl(vcpu->number, set ? KVM_SET_ONE_REG : KVM_GET_ONE_REG, &reg) != 0) fail_errno(env, what, "register " + std::to_string(id));
  if (!set) std::memcpy(bytes.data, copy, size);
  return env.Undefined();
}

// vcpuDrainDirtyRing(vcpu, into): takes dirty entries as pairs (slot, page) until `into` (a Float64Array) is full or the ring empty.
// Returns the pairs taken. The pages stay write-enabled until vm.resetDirtyRings().
Napi::Value vcpu_drain_dirty_ring(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  constexpr const char *what = "drainDirtyRing";
  const FdRef &fd = unwrap(env, info[0], Kind::Vcpu, what);
  const Elements<double> into = arg_doubles(info, 1, what, "into");
  VcpuState &vcpu = state_of(fd);
  Hold hold(env, vcpu, what);
  if (vcpu.dirty_ring == nullptr) {
    const uint32_t size = vcpu.vm->dirty_ring_bytes;
    if (size == 0) fail(env, kUnsupported, what, 0, "the VM has no dirty ring: enable KVM_CAP_DIRTY_LOG_RING before its first vCPU");
    vcpu.dirty_ring = Mapping::make(fd->number, size, PROT_READ | PROT_WRITE, KVM_DIRTY_LOG_PAGE_OFFSET * static_cast<off_t>(kPageBytes));
    if (vcpu.dirty_ring == nullptr) fail_errno(env, "mmap", "the dirty ring");
  }
  auto *const entries = reinterpret_cast<kvm_dirty_gfn *>(vcpu.dirty_ring->base);
  const uint32_t length = static_cast<uint32_t>(vcpu.dirty_ring->size / sizeof(kvm_dirty_gfn));
  size_t taken = 0;
  while (taken * 2 + 1 < into.count) {
    kvm_dirty_gfn &entry = entries[vcpu.dirty_ring_next % length];
    if (__atomic_load_n(&entry.flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY) break;
    into.data[taken * 2] = entry.slot;
    into.data[taken * 2 + 1] = static_cast<double>(entry.offset);
    __atomic_store_n(&entry.flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
    vcpu.dirty_ring_next++;
    taken++;
  }
  return Napi::Number::New(env, static_cast<double>(taken));
}

} // namespace

int VcpuState::run(int fd) {
  const int me = this_thread();
  int nobody = 0;
  // A kick stores immediate_exit and then looks for a runner; this stores the runner and then KVM looks at immediate_exit. Both are
  // full barriers, so one of the two sees the other: a kick is never lost. One that comes between two runs stays in immediate_exit.
  if (!runner.compare_exchange_strong(nobody, me, std::memory_order_seq_cst)) return kBusyElsewhere;
  if (ledger) ledger->enter(static_cast<uint32_t>(me));
  kvm_run *const run = page();
  int result = ioctl(fd, KVM_RUN, 0);
  int reason = KVM_EXIT_INTR;
  if (result == 0) [[likely]] {
    result = reason = static_cast<int>(run->exit_reason);
  } else {
    result = -errno;
    // A fault on guest memory comes as EFAULT or EHWPOISON with the details in the run page (api.rst, KVM_EXIT_MEMORY_FAULT).
    if ((result == -EFAULT || result == -EHWPOISON) && run->exit_reason == KVM_EXIT_MEMORY_FAULT) result = reason = KVM_EXIT_MEMORY_FAULT;
    // This return is the answer to every kick so far; one stored after the exchange makes the next run return at once.
    if (result == -EINTR) immediate_exit(run).exchange(0, std::memory_order_seq_cst);
  }
  if (ledger) ledger->leave(static_cast<uint32_t>(reason));
  runner.store(0, std::memory_order_seq_cst);
  return result;
}

void VcpuState::kick() {
  immediate_exit(page()).store(1, std::memory_order_seq_cst);
  const int tid = runner.load(std::memory_order_seq_cst);
  // The thread may have left meanwhile, or be gone: the handler is empty and the signal then means nothing.
  if (tid != 0) syscall(SYS_tgkill, getpid(), tid, kKickSignal);
}

void init_vcpu(Napi::Env env, Napi::Object exports) {
  exports.Set("vmCreateVcpu", Napi::Function::New(env, vm_create_vcpu, "vmCreateVcpu"));
  exports.Set("vcpuId", Napi::Function::New(env, vcpu_id, "vcpuId"));
  exports.Set("vcpuRunner", Napi::Function::New(env, vcpu_runner, "vcpuRunner"));
  exports.Set("vcpuKick", Napi::Function::New(env, vcpu_kick, "vcpuKick"));
  exports.Set("vcpuRunPage", Napi::Function::New(env, vcpu_run_page, "vcpuRunPage"));
  exports.Set("vcpuUseLedger", Napi::Function::New(env, vcpu_use_ledger, "vcpuUseLedger"));
  exports.Set("ledgerBucket", Napi::Function::New(env, ledger_bucket_of, "ledgerBucket"));
  exports.Set("vcpuSetSignalMask", Napi::Function::New(env, vcpu_set_signal_mask, "vcpuSetSignalMask"));
  exports.Set("vcpuGetXsave2", Napi::Function::New(env, vcpu_get_xsave2, "vcpuGetXsave2"));
  exports.Set("vcpuSetXsave", Napi::Function::New(env, vcpu_set_xsave, "vcpuSetXsave"));
  exports.Set("vcpuOneReg", Napi::Function::New(env, vcpu_one_reg, "vcpuOneReg"));
  exports.Set("vcpuDrainDirtyRing", Napi::Function::New(env, vcpu_drain_dirty_ring, "vcpuDrainDirtyRing"));
}

} // namespace kvm_binding
