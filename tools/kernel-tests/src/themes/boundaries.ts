/** What no sane caller does: garbage pointers, wrong sizes, handles of another process, and several threads at once. */
import * as b from "@tools-kvm/kvm-binding";
import { check, constant, equal, needs, refuses, skip, takes } from "../expect.js";
import { asm16 } from "../guest/code.js";
import { DATA, machine } from "../guest/machine.js";
import { rawIoctl } from "../raw-ioctl.js";
import { themeOf } from "../registry.js";

const it = themeOf("boundaries", "api.rst, API description");
const SIZE_SHIFT = 16;

type Target = "kvm" | "vm" | "vcpu";

const NOWHERE: Readonly<Record<string, string>> = {
  "the null pointer": "0",
  "an address without memory": "0x7ffe00000000",
  "an address that is not canonical": "0x8000000000000000",
  "an address of the kernel": "0xffffffff81000000",
};

const WITH_POINTER: readonly (readonly [Target, keyof typeof b & `KVM_${string}`])[] = [
  ["kvm", "KVM_GET_SUPPORTED_CPUID"],
  ["kvm", "KVM_GET_MSR_INDEX_LIST"],
  ["kvm", "KVM_GET_MSR_FEATURE_INDEX_LIST"],
  ["vm", "KVM_SET_USER_MEMORY_REGION"],
  ["vm", "KVM_GET_DIRTY_LOG"],
  ["vm", "KVM_IRQFD"],
  ["vm", "KVM_IOEVENTFD"],
  ["vm", "KVM_GET_CLOCK"],
  ["vm", "KVM_SET_CLOCK"],
  ["vm", "KVM_ENABLE_CAP"],
  ["vm", "KVM_CREATE_DEVICE"],
  ["vm", "KVM_REGISTER_COALESCED_MMIO"],
  ["vcpu", "KVM_GET_REGS"],
  ["vcpu", "KVM_SET_REGS"],
  ["vcpu", "KVM_GET_SREGS"],
  ["vcpu", "KVM_SET_SREGS"],
  ["vcpu", "KVM_GET_MSRS"],
  ["vcpu", "KVM_SET_MSRS"],
  ["vcpu", "KVM_GET_FPU"],
  ["vcpu", "KVM_SET_FPU"],
  ["vcpu", "KVM_SET_CPUID2"],
  ["vcpu", "KVM_GET_VCPU_EVENTS"],
  ["vcpu", "KVM_SET_VCPU_EVENTS"],
  ["vcpu", "KVM_GET_XSAVE"],
  ["vcpu", "KVM_SET_XSAVE"],
  ["vcpu", "KVM_GET_XCRS"],
  ["vcpu", "KVM_GET_DEBUGREGS"],
  ["vcpu", "KVM_SET_GUEST_DEBUG"],
  ["vcpu", "KVM_GET_MP_STATE"],
  ["vcpu", "KVM_TRANSLATE"],
];

for (const [target, name] of WITH_POINTER) {
  const request = constant(name);
  it(`pointer-${name}`, `${name} is EFAULT where there is no memory, and half of it where memory ends`, () => {
    const answers = rawIoctl("call", target, request, ...Object.values(NOWHERE)).split("\n");
    for (const [i, what] of Object.keys(NOWHERE).entries()) equal(answers[i], "EFAULT", `with ${what}`);
    equal(rawIoctl("edge", target, request, 2), "EFAULT", "two bytes before the memory's end");
  });
}

/** Every one of these calls is told that there is no such ioctl. */
function unknownToKernel(calls: readonly (readonly [Target, number])[]): void {
  const answers = rawIoctl("edges", ...calls.flat()).split("\n");
  for (const [i, [target, request]] of calls.entries())
    check(
      answers[i] === "EINVAL" || answers[i] === "ENOTTY",
      `ioctl 0x${request.toString(16)} on ${target}: ${answers[i]}`,
    );
}

it("size", "the argument's size is part of an ioctl's number: another size is another, unknown ioctl", () =>
  unknownToKernel(WITH_POINTER.map(([target, name]) => [target, constant(name) + (8 << SIZE_SHIFT)])),
);

it("unknown", "an ioctl that does not exist is EINVAL or ENOTTY, on every handle", () =>
  unknownToKernel(
    (["kvm", "vm", "vcpu"] as const).flatMap((target) =>
      [0, 0xaeff, 0x4008aefe, 0xffffffff, 0x5401].map((request) => [target, request] as const),
    ),
  ),
);

it("wrong-handle", "an ioctl of a vCPU is none of its VM's or of /dev/kvm, nor the other way round", () =>
  unknownToKernel([
    ["vm", b.KVM_GET_REGS],
    ["kvm", b.KVM_GET_REGS],
    ["vm", b.KVM_RUN],
    ["vcpu", b.KVM_CREATE_VCPU],
    ["kvm", b.KVM_CREATE_VCPU],
    ["vcpu", b.KVM_SET_USER_MEMORY_REGION],
    ["vm", b.KVM_CREATE_VM],
  ]),
);

const WITHOUT_ARGUMENT: readonly (readonly [Target, keyof typeof b & `KVM_${string}`])[] = [
  ["kvm", "KVM_GET_API_VERSION"],
  ["kvm", "KVM_GET_VCPU_MMAP_SIZE"],
  ["vcpu", "KVM_RUN"],
];

for (const [target, name] of WITHOUT_ARGUMENT)
  it(`no-argument-${name}`, `${name} has no argument: one that is not 0 is EINVAL`, () =>
    equal(rawIoctl("call", target, constant(name), 1), "EINVAL", "with 1"),
  );

it(
  "vcpu-id-huge",
  "a vCPU id far above the limit is EINVAL",
  () => {
    for (const id of ["0x7fffffff", "0xffffffff"])
      equal(rawIoctl("call", "vm", b.KVM_CREATE_VCPU, id), "EINVAL", `id ${id}`);
  },
  { source: "api.rst, KVM_CREATE_VCPU" },
);

it("other-process-vm", "a VM belongs to the process that made it: in a child its ioctls are EIO", () =>
  equal(rawIoctl("fork", "vm", b.KVM_CHECK_EXTENSION, 0), "EIO", "in the child"),
);

it("other-process-vcpu", "a vCPU belongs to the process that made it: in a child its ioctls are EIO", () => {
  equal(rawIoctl("fork", "vcpu", b.KVM_GET_REGS, 0), "EIO", "KVM_GET_REGS in the child");
  equal(rawIoctl("fork", "vcpu", b.KVM_RUN, 0), "EIO", "KVM_RUN in the child");
});

it("other-process-kvm", "/dev/kvm is nobody's: a child may use its parent's descriptor", () =>
  equal(rawIoctl("fork", "kvm", b.KVM_GET_API_VERSION, 0), "OK", "in the child"),
);

it("concurrent-vcpu", "of eight threads that make the same vCPU one succeeds, the others are told EEXIST", () =>
  equal(rawIoctl("race-vcpu").split(" ").sort(), [...Array(7).fill("EEXIST"), "OK"], "answers"),
);

it("concurrent-slots", "of threads that want the same guest page at once one has it, the others are told EEXIST", () =>
  equal(rawIoctl("race-slots").split(" "), Array(8).fill("OK"), "answers"),
);

it("concurrent-lines", "interrupt lines and routes may be changed by several threads at once", () =>
  equal(rawIoctl("race-lines").split(" "), Array(8).fill("OK"), "answers"),
);

it("beside-run", "a vCPU's ioctl from another thread waits until KVM_RUN has returned", () =>
  equal(rawIoctl("ioctl-beside-run"), "waited", "the other thread"),
);

const readData = asm16`
  mov al, ds:[${DATA}]
  out 0x10, al
  hlt`;

it("another-vms-memory", "two VMs have different memory at the same guest address", () => {
  using one = machine(readData);
  using two = machine(readData);
  one.memory.bytes[DATA] = 0x11;
  two.memory.bytes[DATA] = 0x22;
  equal([one.expectOut(0x10), two.expectOut(0x10)], [0x11, 0x22], "what each reads");
});

it("another-vms-guest-memfd", "memory that was made for one VM is EINVAL as another's", () => {
  using kvm = b.Kvm.open();
  using one = kvm.createVm();
  using two = kvm.createVm();
  needs("KVM_CAP_GUEST_MEMFD", one);
  const sizeBytes = 0x10000;
  using memory = b.GuestMemory.create({ sizeBytes });
  using guestMemfd = one.createGuestMemfd({ sizeBytes });
  const plug = (vm: b.Vm) => vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory, guestMemfd });
  if (!takes(() => plug(one))) skip("VMs of this type have no private memory");
  refuses("EINVAL", () => plug(two));
});
