#include "pty.h"

#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "error.h"
#include "handle.h"

namespace kvm_binding {

namespace {

// ptyOpen(): [master, slave, path of the slave]. Raw: neither side echoes, translates or makes signals. Non-blocking.
Napi::Value pty_open(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const int number = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  if (number < 0) fail_errno(env, "posix_openpt");
  auto master = std::make_shared<Fd>(number, Kind::File);
  char path[128];
  if (grantpt(number) != 0 || unlockpt(number) != 0 || ptsname_r(number, path, sizeof path) != 0) fail_errno(env, "unlockpt");
  const int other = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (other < 0) fail_errno(env, "open", path);
  auto slave = std::make_shared<Fd>(other, Kind::File);
  termios mode{};
  if (tcgetattr(other, &mode) != 0) fail_errno(env, "tcgetattr", path);
  cfmakeraw(&mode);
  if (tcsetattr(other, TCSANOW, &mode) != 0) fail_errno(env, "tcsetattr", path);
  Napi::Array made = Napi::Array::New(env, 3);
  made.Set(0u, wrap(env, std::move(master)));
  made.Set(1u, wrap(env, std::move(slave)));
  made.Set(2u, Napi::String::New(env, path));
  return made;
}

} // namespace

void init_pty(Napi::Env env, Napi::Object exports) { exports.Set("ptyOpen", Napi::Function::New(env, pty_open, "ptyOpen")); }

} // namespace kvm_binding
