/** VMs and vCPUs: how they are made, how many there can be, and the orders in which they are closed. */

import * as b from "@tools-kvm/kvm-binding";
import { GuestMemory, Kvm, KvmError, type Vm } from "@tools-kvm/kvm-binding";
import { check, equal, refuses } from "../expect.js";
import { asm16 } from "../guest/code.js";
import { machine } from "../guest/machine.js";
import { themeOf } from "../registry.js";

const it = themeOf("lifecycle", "api.rst, KVM_CREATE_VCPU");

function withVm<T>(body: (vm: Vm, kvm: Kvm) => T): T {
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  return body(vm, kvm);
}

const out = asm16`
  mov al, 1
  out 0x10, al
  mov al, 2
  out 0x10, al
  hlt`;

it(
  "vm-type",
  "a VM type that KVM_CAP_VM_TYPES does not list is EINVAL",
  () => {
    using kvm = Kvm.open();
    refuses("EINVAL", () => kvm.createVm({ type: 31 }));
  },
  { source: "api.rst, KVM_CREATE_VM" },
);

it(
  "vm-types-listed",
  "the default type 0 is in the list of types, or there is no list",
  () => {
    using kvm = Kvm.open();
    const types = kvm.checkExtension(b.KVM_CAP_VM_TYPES);
    check(types === 0 || (types & 1) === 1, `KVM_CAP_VM_TYPES is ${types}`);
  },
  { source: "api.rst, KVM_CREATE_VM" },
);

it(
  "many-vms",
  "32 VMs live side by side, and each runs its own code",
  () => {
    const machines = Array.from({ length: 32 }, () => machine(out));
    try {
      equal(
        machines.map((m) => m.next()),
        Array(32).fill("out byte 0x10: 0x1"),
        "first exits",
      );
      equal(
        machines.map((m) => m.next()),
        Array(32).fill("out byte 0x10: 0x2"),
        "second exits",
      );
    } finally {
      for (const m of machines) m[Symbol.dispose]();
    }
  },
  { source: "api.rst, KVM_CREATE_VM" },
);

it("vcpu-id-taken", "a second vCPU of the same id is EEXIST", () =>
  withVm((vm) => {
    using _vcpu = vm.createVcpu(3);
    refuses("EEXIST", () => vm.createVcpu(3));
  }),
);

it("vcpu-id-freed", "an id is taken for the VM's life, also when the vCPU's descriptor has been closed", () =>
  withVm((vm) => {
    vm.createVcpu(3).close();
    refuses("EEXIST", () => vm.createVcpu(3));
  }),
);

it("vcpu-id-limit", "ids below KVM_CAP_MAX_VCPU_ID are good, that number itself is EINVAL", () =>
  withVm((vm) => {
    const limit = vm.checkExtension(b.KVM_CAP_MAX_VCPU_ID);
    using _vcpu = vm.createVcpu(limit - 1);
    refuses("EINVAL", () => vm.createVcpu(limit));
  }),
);

it(
  "max-vcpu-id-lowered",
  "KVM_ENABLE_CAP(KVM_CAP_MAX_VCPU_ID) lowers the limit of ids for this VM",
  () =>
    withVm((vm) => {
      vm.enableCap(b.KVM_CAP_MAX_VCPU_ID, 4);
      refuses("EINVAL", () => vm.createVcpu(4));
      using _vcpu = vm.createVcpu(3);
    }),
  { source: "api.rst, KVM_CAP_MAX_VCPU_ID" },
);

it("many-vcpus", "a VM takes as many vCPUs as are recommended, 64 at most here", () =>
  withVm((vm, kvm) => {
    const count = Math.min(64, kvm.checkExtension(b.KVM_CAP_NR_VCPUS));
    const vcpus = Array.from({ length: count }, (_, id) => vm.createVcpu(id));
    equal(
      vcpus.every((vcpu) => vcpu.getMpState() === b.KVM_MP_STATE_RUNNABLE),
      true,
      "runnable without an irqchip",
    );
    for (const vcpu of vcpus) vcpu.close();
  }),
);

it("sparse-ids", "ids need not be dense, nor in order", () =>
  withVm((vm) => {
    for (const id of [200, 7, 0, 33]) vm.createVcpu(id).close();
  }),
);

it(
  "reset-state",
  "a new vCPU is at the reset vector, in real mode, with RFLAGS 2 and caches off",
  () =>
    withVm((vm) => {
      using vcpu = vm.createVcpu(0);
      const { rip, rflags } = vcpu.getRegs();
      const { cs, cr0, efer } = vcpu.getSregs();
      equal([rip, rflags], [0xfff0n, 2n], "RIP and RFLAGS");
      equal([cs.selector, cs.base, cs.limit], [0xf000, 0xffff0000n, 0xffff], "CS");
      equal([cr0, efer], [0x60000010n, 0n], "CR0 and EFER");
    }),
  { source: "SDM, Processor State After Reset" },
);

it(
  "reset-edx",
  "EDX after reset is a processor signature: family and model, never 0",
  () =>
    withVm((vm) => {
      using vcpu = vm.createVcpu(0);
      check(vcpu.getRegs().rdx !== 0n, "EDX is 0");
    }),
  { source: "SDM, Processor State After Reset" },
);

it(
  "close-vm-first",
  "a vCPU runs on when its VM's descriptor has been closed",
  () => {
    using m = machine(out);
    equal(m.next(), "out byte 0x10: 0x1", "first exit");
    m.vm.close();
    m.kvm.close();
    m.memory.close();
    equal(m.next(), "out byte 0x10: 0x2", "second exit");
  },
  { source: "api.rst, Extensions (a VM lives until its last descriptor is closed)" },
);

it("close-vcpu-first", "a VM goes on when a vCPU's descriptor has been closed", () =>
  withVm((vm) => {
    vm.createVcpu(0).close();
    using vcpu = vm.createVcpu(1);
    equal(vcpu.getRegs().rflags, 2n, "RFLAGS of the other vCPU");
  }),
);

it("close-during-exit", "everything can be closed in the middle of a port read's exit", () => {
  for (let i = 0; i < 8; i++) {
    using m = machine(read);
    equal(m.next(), "in byte 0x10", "exit");
  }
});

const read = asm16`
  in al, 0x10
  hlt`;

it(
  "create-close-loop",
  "100 VMs made and closed one after the other leave no descriptor behind",
  () => {
    using kvm = Kvm.open();
    const next = () => {
      using vm = kvm.createVm();
      return vm.fd;
    };
    const first = next();
    for (let i = 0; i < 100; i++) equal(next(), first, "the descriptor's number");
  },
  { source: "api.rst, KVM_CREATE_VM" },
);

it(
  "boot-cpu",
  "the boot CPU can be chosen before the first vCPU is made, and is EBUSY afterwards",
  () =>
    withVm((vm) => {
      vm.createIrqchip();
      vm.setBootCpuId(1);
      using ap = vm.createVcpu(0);
      using bsp = vm.createVcpu(1);
      refuses("EBUSY", () => vm.setBootCpuId(0));
      const isBsp = (vcpu: b.Vcpu) => (vcpu.getSregs().apicBase & 0x100n) !== 0n;
      equal([isBsp(ap), isBsp(bsp)], [false, true], "the BSP flag of IA32_APIC_BASE");
      equal([ap.getMpState(), bsp.getMpState()], [b.KVM_MP_STATE_UNINITIALIZED, b.KVM_MP_STATE_RUNNABLE], "MP states");
    }),
  { source: "api.rst, KVM_SET_BOOT_CPU_ID" },
);

it(
  "identity-map",
  "the identity map's address is refused once there is a vCPU",
  () =>
    withVm((vm) => {
      vm.setIdentityMapAddr(0xfffbc000);
      using _vcpu = vm.createVcpu(0);
      refuses("EINVAL", () => vm.setIdentityMapAddr(0xfffbc000));
    }),
  { source: "api.rst, KVM_SET_IDENTITY_MAP_ADDR" },
);

it(
  "enable-unknown-cap",
  "enabling a capability that does not exist is EINVAL, and so are flags",
  () =>
    withVm((vm) => {
      refuses("EINVAL", () => vm.enableCap(0x7ffff));
      const bytes = b.EnableCap.from({ cap: b.KVM_CAP_EXCEPTION_PAYLOAD, flags: 1, args: [1] }).bytes;
      refuses("EINVAL", () => vm.ioctlBytes(b.KVM_ENABLE_CAP, bytes));
    }),
  { source: "api.rst, KVM_ENABLE_CAP" },
);

it(
  "run-without-memory",
  "a vCPU without any memory does not run code: it exits or reports an error, and stays usable",
  () => {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    using vcpu = vm.createVcpu(0);
    using memory = GuestMemory.create({ sizeBytes: 4096 });
    const reason = (() => {
      try {
        return vcpu.run();
      } catch (error) {
        check(error instanceof KvmError, String(error));
        return -1;
      }
    })();
    check(reason !== b.KVM_EXIT_HLT && reason !== b.KVM_EXIT_IO, `it ran code: exit ${reason}`);
    memory.bytes.set([0xf4], 0xff0);
    vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0xfffff000, memory });
    vcpu.getRegs();
  },
);
