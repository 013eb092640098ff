#include "net.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "arguments.h"
#include "error.h"
#include "handle.h"

namespace kvm_binding {

namespace {

constexpr size_t kMostPassed = 64;

// tapOpen(name, flags, vnetHeaderBytes, offload): [handle, name]. An empty name lets the kernel choose one. Non-blocking.
Napi::Value tap_open(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const std::string name = arg_string(info, 0, "TUNSETIFF", "name", IFNAMSIZ - 1);
  const uint32_t flags = arg_u32(info, 1, "TUNSETIFF", "flags");
  const int header_bytes = arg_i32(info, 2, "TUNSETVNETHDRSZ", "vnetHeaderBytes");
  const uint32_t offload = arg_u32(info, 3, "TUNSETOFFLOAD", "offload");
  const int number = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (number < 0) fail_errno(env, "open", "/dev/net/tun");
  auto fd = std::make_shared<Fd>(number, Kind::Tap);
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), name.size());
  request.ifr_flags = static_cast<short>(flags);
  if (ioctl(number, TUNSETIFF, &request) != 0) fail_errno(env, "TUNSETIFF", "tap " + name);
  if (header_bytes != 0 && ioctl(number, TUNSETVNETHDRSZ, &header_bytes) != 0) {
    fail_errno(env, "TUNSETVNETHDRSZ", std::to_string(header_bytes) + " bytes");
  }
  if (offload != 0 && ioctl(number, TUNSETOFFLOAD, static_cast<unsigned long>(offload)) != 0) fail_errno(env, "TUNSETOFFLOAD");
  request.ifr_name[IFNAMSIZ - 1] = '\0';
  Napi::Array made = Napi::Array::New(env, 2);
  made.Set(0u, wrap(env, std::move(fd)));
  made.Set(1u, Napi::String::New(env, request.ifr_name));
  return made;
}

// tapSetOffload(tap, flags): TUNSETOFFLOAD.
void tap_set_offload(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &fd = unwrap(env, info[0], Kind::Tap, "TUNSETOFFLOAD");
  const uint32_t offload = arg_u32(info, 1, "TUNSETOFFLOAD", "offload");
  if (ioctl(fd->number, TUNSETOFFLOAD, static_cast<unsigned long>(offload)) != 0) fail_errno(env, "TUNSETOFFLOAD");
}

sockaddr_un address_of(Napi::Env env, const char *what, const std::string &path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) fail_invalid(env, what, "a socket path is 1 to 107 bytes");
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

int socket_type(const Napi::CallbackInfo &info, size_t index, const char *what) {
  return (arg_bool(info, index, what, "packets") ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
}

// socketPair(packets): [handle, handle]
Napi::Value socket_pair(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  int numbers[2];
  if (socketpair(AF_UNIX, socket_type(info, 0, "socketpair"), 0, numbers) != 0) fail_errno(env, "socketpair");
  auto first = std::make_shared<Fd>(numbers[0], Kind::Socket);
  auto second = std::make_shared<Fd>(numbers[1], Kind::Socket);
  Napi::Array pair = Napi::Array::New(env, 2);
  pair.Set(0u, wrap(env, std::move(first)));
  pair.Set(1u, wrap(env, std::move(second)));
  return pair;
}

// socketConnect(path, packets)
Napi::Value socket_connect(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const std::string path = arg_string(info, 0, "connect", "path");
  const sockaddr_un address = address_of(env, "connect", path);
  const int number = socket(AF_UNIX, socket_type(info, 1, "connect"), 0);
  if (number < 0) fail_errno(env, "socket");
  auto fd = std::make_shared<Fd>(number, Kind::Socket);
  if (connect(number, reinterpret_cast<const sockaddr *>(&address), sizeof address) != 0) fail_errno(env, "connect", path);
  return wrap(env, std::move(fd));
}

// socketListen(path, packets, mode): a listening socket whose file has this mode before anybody can connect.
Napi::Value socket_listen(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const std::string path = arg_string(info, 0, "bind", "path");
  const sockaddr_un address = address_of(env, "bind", path);
  const int type = socket_type(info, 1, "bind");
  const uint32_t mode = arg_u32(info, 2, "bind", "mode");
  const int number = socket(AF_UNIX, type, 0);
  if (number < 0) fail_errno(env, "socket");
  auto fd = std::make_shared<Fd>(number, Kind::Socket);
  if (bind(number, reinterpret_cast<const sockaddr *>(&address), sizeof address) != 0) fail_errno(env, "bind", path);
  if (chmod(path.c_str(), mode & 0777) != 0) fail_errno(env, "chmod", path);
  if (listen(number, 64) != 0) fail_errno(env, "listen", path);
  return wrap(env, std::move(fd));
}

// socketAccept(listener): a handle, or null when nobody waits.
Napi::Value socket_accept(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &listener = unwrap(env, info[0], Kind::Socket, "accept");
  const int number = accept4(listener->number, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (number < 0) {
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return env.Null();
    fail_errno(env, "accept");
  }
  return wrap(env, std::make_shared<Fd>(number, Kind::Socket));
}

// socketSend(socket, bytes, ...handles): sends bytes, and descriptors with the first of them. Bytes sent, or -EAGAIN.
Napi::Value socket_send(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &socket = unwrap(env, info[0], Kind::Socket, "sendmsg");
  const Bytes bytes = arg_bytes(info, 1, "sendmsg", "bytes");
  const size_t passed = info.Length() > 2 ? info.Length() - 2 : 0;
  if (passed > kMostPassed) fail_invalid(env, "sendmsg", "at most 64 descriptors");
  int numbers[kMostPassed];
  for (size_t i = 0; i < passed; i++) numbers[i] = unwrap(env, info[2 + i], kAnyKind, "sendmsg")->number;
  iovec vector = {bytes.data, bytes.size};
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof numbers)] = {};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (passed != 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(passed * sizeof(int));
    cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(passed * sizeof(int));
    std::memcpy(CMSG_DATA(head), numbers, passed * sizeof(int));
  }
  ssize_t length;
  do {
    length = sendmsg(socket->number, &message, MSG_NOSIGNAL);
  } while (length < 0 && errno == EINTR);
  if (length < 0 && errno == EAGAIN) return Napi::Number::New(env, -EAGAIN);
  if (length < 0) fail_errno(env, "sendmsg");
  return Napi::Number::New(env, static_cast<double>(length));
}

// socketReceive(socket, into, handles): bytes received (0 at the end of the stream) or -EAGAIN. Descriptors that came along are
// pushed to the array `handles` as file handles; those beyond 64 are closed.
Napi::Value socket_receive(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &socket = unwrap(env, info[0], Kind::Socket, "recvmsg");
  const Bytes into = arg_bytes(info, 1, "recvmsg", "into");
  if (!info[2].IsArray()) throw Napi::TypeError::New(env, "recvmsg: handles must be an array");
  Napi::Array handles = info[2].As<Napi::Array>();
  iovec vector = {into.data, into.size};
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(kMostPassed * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t length;
  do {
    length = recvmsg(socket->number, &message, MSG_CMSG_CLOEXEC);
  } while (length < 0 && errno == EINTR);
  if (length < 0 && errno == EAGAIN) return Napi::Number::New(env, -EAGAIN);
  if (length < 0) fail_errno(env, "recvmsg");
  // Owned before anything can throw.
  FdRef received[kMostPassed];
  size_t count = 0;
  for (cmsghdr *head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const size_t numbers = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < numbers && count < kMostPassed; i++) {
      int number;
      std::memcpy(&number, CMSG_DATA(head) + i * sizeof(int), sizeof number);
      received[count++] = std::make_shared<Fd>(number, Kind::File);
    }
  }
  for (size_t i = 0; i < count; i++) handles.Set(handles.Length(), wrap(env, std::move(received[i])));
  return Napi::Number::New(env, static_cast<double>(length));
}

// socketShutdownWrite(socket): no more is sent.
void socket_shutdown_write(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &socket = unwrap(env, info[0], Kind::Socket, "shutdown");
  if (shutdown(socket->number, SHUT_WR) != 0) fail_errno(env, "shutdown");
}

// streamRead(handle, into) and streamWrite(handle, bytes): one frame of a tap, bytes of a socket or file. Bytes, or -EAGAIN.
Napi::Value stream_read(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &fd = unwrap(env, info[0], Kind::Tap | Kind::Socket, "read");
  const Bytes into = arg_bytes(info, 1, "read", "into");
  ssize_t length;
  do {
    length = read(fd->number, into.data, into.size);
  } while (length < 0 && errno == EINTR);
  if (length < 0 && errno == EAGAIN) return Napi::Number::New(env, -EAGAIN);
  if (length < 0) fail_errno(env, "read");
  return Napi::Number::New(env, static_cast<double>(length));
}

Napi::Value stream_write(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &fd = unwrap(env, info[0], Kind::Tap | Kind::Socket, "write");
  const Bytes bytes = arg_bytes(info, 1, "write", "bytes");
  ssize_t length;
  do {
    length = fd->kind == Kind::Socket ? send(fd->number, bytes.data, bytes.size, MSG_NOSIGNAL) : write(fd->number, bytes.data, bytes.size);
  } while (length < 0 && errno == EINTR);
  if (length < 0 && errno == EAGAIN) return Napi::Number::New(env, -EAGAIN);
  if (length < 0) fail_errno(env, "write");
  return Napi::Number::New(env, static_cast<double>(length));
}

// tapWriteAll(handle, frames, count): one frame after the other. 0, or -errno of the last one that was not sent.
Napi::Value tap_write_all(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &fd = unwrap(env, info[0], Kind::Tap, "write");
  if (!info[1].IsArray()) fail_invalid(env, "write", "frames is no array");
  const Napi::Array frames = info[1].As<Napi::Array>();
  const uint32_t count = arg_u32(info, 2, "write", "count");
  if (count > frames.Length()) fail_invalid(env, "write", "fewer frames than count");
  int failure = 0;
  for (uint32_t i = 0; i < count; i++) {
    Napi::HandleScope scope(env);
    const Bytes bytes = bytes_of(env, frames.Get(i), "write", "a frame");
    ssize_t length;
    do {
      length = write(fd->number, bytes.data, bytes.size);
    } while (length < 0 && errno == EINTR);
    if (length < 0) failure = errno;
  }
  return Napi::Number::New(env, -failure);
}

// tapReadAll(handle, into, lengths, most): frames one behind the other in `into`, while a frame of `most` bytes has room and `lengths` too.
// How many; an error is thrown only when it comes before the first.
Napi::Value tap_read_all(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const FdRef &fd = unwrap(env, info[0], Kind::Tap, "read");
  const Bytes into = arg_bytes(info, 1, "read", "into");
  const Elements<int32_t> lengths = arg_int32s(info, 2, "read", "lengths");
  const uint32_t most = arg_u32(info, 3, "read", "most");
  size_t used = 0;
  uint32_t count = 0;
  while (count < lengths.count && most <= into.size - used) {
    ssize_t length;
    do {
      length = read(fd->number, into.data + used, most);
    } while (length < 0 && errno == EINTR);
    if (length < 0 && errno != EAGAIN && count == 0) fail_errno(env, "read");
    if (length <= 0) break;
    used += static_cast<size_t>(length);
    lengths.data[count++] = static_cast<int32_t>(length);
  }
  return Napi::Number::New(env, count);
}

} // namespace

void init_net(Napi::Env env, Napi::Object exports) {
  exports.Set("tapOpen", Napi::Function::New(env, tap_open, "tapOpen"));
  exports.Set("tapSetOffload", Napi::Function::New(env, tap_set_offload, "tapSetOffload"));
  exports.Set("socketPair", Napi::Function::New(env, socket_pair, "socketPair"));
  exports.Set("socketConnect", Napi::Function::New(env, socket_connect, "socketConnect"));
  exports.Set("socketListen", Napi::Function::New(env, socket_listen, "socketListen"));
  exports.Set("socketAccept", Napi::Function::New(env, socket_accept, "socketAccept"));
  exports.Set("socketSend", Napi::Function::New(env, socket_send, "socketSend"));
  exports.Set("socketReceive", Napi::Function::New(env, socket_receive, "socketReceive"));
  exports.Set("socketShutdownWrite", Napi::Function::New(env, socket_shutdown_write, "socketShutdownWrite"));
  exports.Set("tapWriteAll", Napi::Function::New(env, tap_write_all, "tapWriteAll"));
  exports.Set("tapReadAll", Napi::Function::New(env, tap_read_all, "tapReadAll"));
  exports.Set("streamRead", Napi::Function::New(env, stream_read, "streamRead"));
  exports.Set("streamWrite", Napi::Function::New(env, stream_write, "streamWrite"));
}

} // namespace kvm_binding
