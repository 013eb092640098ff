#include "handle.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "arguments.h"
#include "error.h"

namespace kvm_binding {

namespace {

// Handles offered to other threads. The table does not keep them alive: a token is good while some handle over the Fd is open.
struct Table {
  std::mutex mutex;
  std::unordered_map<uint64_t, std::weak_ptr<Fd>> shared;
};

Table &table() {
  static Table *const instance = new Table; // never destroyed: Workers may outlive static destructors
  return *instance;
}

using Box = std::shared_ptr<Cell>;

// Marks the objects whose wrapped pointer is a Box, so that a foreign object is never taken for one.
constexpr napi_type_tag kBoxTag = {0x9d2c5680efc60001ULL, 0x71b2c0ffee4b564dULL};

Box *box_of(napi_env env, napi_value value) {
  napi_valuetype type;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_object) return nullptr;
  bool tagged = false;
  if (napi_check_object_type_tag(env, value, &kBoxTag, &tagged) != napi_ok || !tagged) return nullptr;
  void *box = nullptr;
  if (napi_unwrap(env, value, &box) != napi_ok) return nullptr;
  return static_cast<Box *>(box);
}

Box &need_box(Napi::Env env, napi_value value, const char *what) {
  Box *box = box_of(env, value);
  if (box == nullptr) throw Napi::TypeError::New(env, std::string(what) + ": a handle of this binding is needed");
  return *box;
}

uint64_t random_token() {
  uint64_t token = 0;
  while (getrandom(&token, sizeof token, 0) != sizeof token) {
  }
  return (token & ((1ULL << 53) - 1)) | 1; // a safe integer, never 0
}

Napi::Value handle_fd(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), unwrap(info.Env(), info[0], kAnyKind, "fd")->number);
}

Napi::Value handle_close(const Napi::CallbackInfo &info) {
  need_box(info.Env(), info[0], "close")->clear();
  return info.Env().Undefined();
}

Napi::Value handle_closed(const Napi::CallbackInfo &info) {
  return Napi::Boolean::New(info.Env(), need_box(info.Env(), info[0], "closed")->fd == nullptr);
}

Napi::Value handle_share(const Napi::CallbackInfo &info) {
  const FdRef &fd = unwrap(info.Env(), info[0], kAnyKind, "share");
  std::lock_guard lock(table().mutex);
  while (fd->token == 0) {
    const uint64_t token = random_token();
    if (table().shared.emplace(token, fd).second) fd->token = token;
  }
  return Napi::Number::New(info.Env(), static_cast<double>(fd->token));
}

// attach(token, kinds): a handle of this thread over the Fd that another thread shared.
Napi::Value handle_attach(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const uint64_t token = arg_u64(info, 0, "attach", "token");
  const uint32_t kinds = arg_u32(info, 1, "attach", "kinds");
  FdRef fd;
  {
    std::lock_guard lock(table().mutex);
    auto found = table().shared.find(token);
    if (found != table().shared.end()) fd = found->second.lock();
  }
  if (fd == nullptr) fail_invalid(env, "attach", "no open handle of this process has that token");
  if ((mask(fd->kind) & kinds) == 0) {
    fail_invalid(env, "attach", std::string("the token is of a ") + kind_name(fd->kind) + " handle");
  }
  return wrap(env, std::move(fd));
}

Napi::Value handle_kind(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), mask(unwrap(info.Env(), info[0], kAnyKind, "kind")->kind));
}

// Whether a descriptor is what it is said to be. The wrong kind of write to somebody else's pipe is nothing to allow.
bool is_of_kind(int fd, Kind kind) {
  struct stat status;
  if (fstat(fd, &status) != 0) return false;
  if (kind == Kind::Socket) return S_ISSOCK(status.st_mode);
  if (kind == Kind::File) return true;
  if (kind == Kind::Tap) {
    ifreq request{};
    return ioctl(fd, TUNGETIFF, &request) == 0;
  }
  char target[64] = {};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  if (readlink(link.c_str(), target, sizeof target - 1) < 0) return false;
  const std::string_view name(target);
  if (kind == Kind::EventFd) return name == "anon_inode:[eventfd]";
  return name.starts_with("anon_inode:kvm-") && name.find("-stats") != std::string_view::npos;
}

// adopt(fd, kind): takes a duplicate of a descriptor this process has from elsewhere (inherited, received, pidfd_getfd).
Napi::Value handle_adopt(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const int number = arg_i32(info, 0, "adopt", "fd");
  const uint32_t kind = arg_u32(info, 1, "adopt", "kind");
  constexpr uint32_t allowed = Kind::EventFd | Kind::Stats | Kind::Tap | Kind::Socket | Kind::File;
  if (kind == 0 || (kind & (kind - 1)) != 0 || (kind & allowed) == 0) {
    fail_invalid(env, "adopt", "only eventfd, stats, tap, socket and file descriptors can be adopted");
  }
  const int copy = fcntl(number, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) fail_errno(env, "fcntl(F_DUPFD_CLOEXEC)", "descriptor " + std::to_string(number));
  auto fd = std::make_shared<Fd>(copy, static_cast<Kind>(kind));
  if (!is_of_kind(copy, fd->kind)) fail_invalid(env, "adopt", "descriptor " + std::to_string(number) + " is no " + kind_name(fd->kind));
  return wrap(env, std::move(fd));
}

} // namespace

const char *kind_name(Kind kind) {
  switch (kind) {
  case Kind::Kvm: return "/dev/kvm";
  case Kind::Vm: return "VM";
  case Kind::Vcpu: return "vCPU";
  case Kind::EventFd: return "eventfd";
  case Kind::Memory: return "guest memory";
  case Kind::Stats: return "statistics";
  case Kind::Perf: return "perf event";
  case Kind::Tap: return "tap";
  case Kind::Socket: return "socket";
  case Kind::GuestMemfd: return "guest_memfd";
  case Kind::Device: return "KVM device";
  case Kind::Poller: return "poller";
  case Kind::File: return "file";
  case Kind::FileRing: return "file ring";
  }
  return "unknown";
}

Fd::~Fd() {
  if (token != 0) {
    std::lock_guard lock(table().mutex);
    table().shared.erase(token);
  }
  if (number >= 0) ::close(number);
}

Napi::Value wrap(Napi::Env env, FdRef fd, std::unique_ptr<Pin> pin) {
  Napi::Object object = Napi::Object::New(env);
  auto box = std::make_unique<Box>(std::make_shared<Cell>());
  (*box)->fd = std::move(fd);
  (*box)->pin = std::move(pin);
  const napi_status status = napi_wrap(
      env, object, box.get(), [](napi_env, void *data, void *) { delete static_cast<Box *>(data); }, nullptr, nullptr);
  if (status != napi_ok) throw Napi::Error::New(env);
  box.release();
  if (napi_type_tag_object(env, object, &kBoxTag) != napi_ok) throw Napi::Error::New(env);
  return object;
}

const FdRef &unwrap(Napi::Env env, napi_value value, uint32_t kinds, const char *what) {
  Cell &cell = *need_box(env, value, what);
  if (cell.fd == nullptr) fail(env, kClosed, what, 0, "the handle is closed");
  if ((mask(cell.fd->kind) & kinds) == 0) {
    fail_invalid(env, what, std::string("it does not apply to a ") + kind_name(cell.fd->kind) + " handle");
  }
  return cell.fd;
}

std::shared_ptr<Cell> unwrap_cell(Napi::Env env, napi_value value, const char *what) { return need_box(env, value, what); }

void init_handles(Napi::Env env, Napi::Object exports) {
  exports.Set("fd", Napi::Function::New(env, handle_fd, "fd"));
  exports.Set("kind", Napi::Function::New(env, handle_kind, "kind"));
  exports.Set("close", Napi::Function::New(env, handle_close, "close"));
  exports.Set("closed", Napi::Function::New(env, handle_closed, "closed"));
  exports.Set("share", Napi::Function::New(env, handle_share, "share"));
  exports.Set("attach", Napi::Function::New(env, handle_attach, "attach"));
  exports.Set("adopt", Napi::Function::New(env, handle_adopt, "adopt"));
}

} // namespace kvm_binding
