// Everything this module exports, by subject. src/native.d.ts is the contract.
#include <napi.h>

#include "environment.h"
#include "error.h"
#include "eventfd.h"
#include "file-ring.h"
#include "fs-at.h"
#include "handle.h"
#include "host-file.h"
#include "ioctl.h"
#include "memory.h"
#include "net.h"
#include "perf.h"
#include "poller.h"
#include "process.h"
#include "pty.h"
#include "vcpu.h"
#include "vm.h"
#include "watch.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  using namespace kvm_binding;
  env.SetInstanceData(new Environment);
  init_errors(env, exports);
  init_handles(env, exports);
  init_ioctl(env, exports);
  init_vm(env, exports);
  init_vcpu(env, exports);
  init_memory(env, exports);
  init_eventfd(env, exports);
  init_watch(env, exports);
  init_poller(env, exports);
  init_perf(env, exports);
  init_process(env, exports);
  init_host_file(env, exports);
  init_fs_at(env, exports);
  init_file_ring(env, exports);
  init_net(env, exports);
  init_pty(env, exports);
  return exports;
}

NODE_API_MODULE(kvm_binding, init)
