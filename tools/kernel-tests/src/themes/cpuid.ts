/** CPUID: what KVM supports, what user space sets, and what the guest then sees. */

import type { CpuidEntry } from "@tools-kvm/kvm-binding";
import * as b from "@tools-kvm/kvm-binding";
import { check, equal, refuses } from "../expect.js";
import { asm32 } from "../guest/code.js";
import { machine } from "../guest/machine.js";
import { themeOf } from "../registry.js";

const it = themeOf("cpuid", "api.rst, KVM_SET_CPUID2");

const cpuid = asm32`
  cpuid
  out 0x10, eax
  mov eax, ebx
  out 0x10, eax
  mov eax, ecx
  out 0x10, eax
  mov eax, edx
  out 0x10, eax
  hlt`;

function supported(): CpuidEntry[] {
  using kvm = b.Kvm.open();
  return kvm.getSupportedCpuid();
}

/** EAX, EBX, ECX, EDX that a guest gets for a leaf. */
function seen(leaves: readonly CpuidEntry[], fn: number, index = 0): number[] {
  using m = machine(cpuid, { cpuid: leaves });
  const regs = m.vcpu.getRegs();
  regs.assign({ rax: fn, rcx: index });
  m.vcpu.setRegs(regs);
  return Array.from({ length: 4 }, () => m.expectOut(0x10) >>> 0);
}

const leaf = (
  fn: number,
  eax: number,
  ebx: number,
  ecx: number,
  edx: number,
  more: Partial<CpuidEntry> = {},
): CpuidEntry => ({
  function: fn,
  index: 0,
  flags: 0,
  eax,
  ebx,
  ecx,
  edx,
  ...more,
});

it(
  "supported-basics",
  "the supported leaves begin with the highest number and a vendor's name, and have long mode",
  () => {
    const leaves = supported();
    const first = leaves.find((one) => one.function === 0)!;
    const name = Buffer.from(Uint32Array.of(first.ebx, first.edx, first.ecx).buffer).toString("latin1");
    check(/^[\x20-\x7e]{12}$/.test(name), `vendor ${JSON.stringify(name)}`);
    check(
      ((leaves.find((one) => one.function === 0x80000001)?.edx ?? 0) & (1 << 29)) !== 0,
      "no long mode in leaf 0x80000001",
    );
  },
  { source: "api.rst, KVM_GET_SUPPORTED_CPUID" },
);

it(
  "supported-short",
  "with too little room the supported leaves are E2BIG",
  () => {
    using kvm = b.Kvm.open();
    const bytes = new Uint8Array(b.CpuidHead.sizeBytes + b.CpuidRecord.sizeBytes);
    new b.CpuidHead(bytes).nent = 1;
    refuses("E2BIG", () => kvm.ioctlBytes(b.KVM_GET_SUPPORTED_CPUID, bytes));
  },
  { source: "api.rst, KVM_GET_SUPPORTED_CPUID" },
);

it(
  "supported-kvm-signature",
  "leaf 0x40000000 has the signature KVMKVMKVM",
  () => {
    const kvmLeaf = supported().find((one) => one.function === 0x40000000);
    check(kvmLeaf !== undefined, "no leaf 0x40000000");
    equal(
      Buffer.from(Uint32Array.of(kvmLeaf.ebx, kvmLeaf.ecx, kvmLeaf.edx).buffer).toString("latin1"),
      "KVMKVMKVM\0\0\0",
      "signature",
    );
  },
  { source: "cpuid.rst, KVM CPUID bits" },
);

it(
  "emulated",
  "KVM_GET_EMULATED_CPUID gives a list",
  () => {
    using kvm = b.Kvm.open();
    kvm.getEmulatedCpuid();
  },
  { source: "api.rst, KVM_GET_EMULATED_CPUID" },
);

it(
  "round-trip",
  "KVM_GET_CPUID2 gives back the leaves that were set",
  () => {
    using m = machine(cpuid, { cpuid: [leaf(0, 1, 0x11, 0x22, 0x33), leaf(1, 0x6f0, 0, 0, 0)] });
    equal(
      m.vcpu.getCpuid2().map(({ function: fn, ebx }) => [fn, ebx]),
      [
        [0, 0x11],
        [1, 0],
      ],
      "leaves",
    );
  },
  { source: "api.rst, KVM_GET_CPUID2" },
);

it(
  "get-short",
  "KVM_GET_CPUID2 with too little room is E2BIG",
  () => {
    using m = machine(cpuid);
    const bytes = new Uint8Array(b.CpuidHead.sizeBytes);
    refuses("E2BIG", () => m.vcpu.ioctlBytes(b.KVM_GET_CPUID2, bytes));
  },
  { source: "api.rst, KVM_GET_CPUID2" },
);

it("guest-sees", "the guest's CPUID gives the values that user space set", () => {
  const leaves = [
    leaf(0, 0x1, 0x756e6554, 0x20736c65, 0x74736574),
    leaf(0x40000000, 0x40000001, 0x1234, 0x5678, 0x9abc),
  ];
  equal(seen(leaves, 0x40000000), [0x40000001, 0x1234, 0x5678, 0x9abc], "leaf 0x40000000");
  equal(seen(leaves, 0), [1, 0x756e6554, 0x20736c65, 0x74736574], "leaf 0");
});

it("guest-index", "a leaf with a significant index is looked up by ECX, one without whatever ECX is", () => {
  const significant = { flags: b.KVM_CPUID_FLAG_SIGNIFCANT_INDEX };
  const leaves = [
    leaf(0, 0x10, 0, 0, 0),
    leaf(4, 0x40, 0, 0, 0, { ...significant, index: 0 }),
    leaf(4, 0x41, 0, 0, 0, { ...significant, index: 1 }),
    leaf(0x10, 0x100, 0, 0, 0),
  ];
  equal([seen(leaves, 4, 0)[0], seen(leaves, 4, 1)[0], seen(leaves, 0x10, 7)[0]], [0x40, 0x41, 0x100], "EAX");
});

it("guest-apic-id", "the initial APIC ID of leaf 1 is what user space set, not the host's", () => {
  const leaves = supported().map((one) =>
    one.function === 1 ? { ...one, ebx: (one.ebx & 0xffffff) | 0x2a000000 } : one,
  );
  equal(seen(leaves, 1)[1]! >>> 24, 0x2a, "EBX bits 31 to 24");
});

const osxsave = asm32`
  mov eax, 1
  cpuid
  mov eax, ecx
  out 0x10, eax
  mov eax, cr4
  or eax, 0x40000
  mov cr4, eax
  mov eax, 1
  cpuid
  mov eax, ecx
  out 0x10, eax
  hlt`;

it(
  "osxsave-follows-cr4",
  "OSXSAVE in leaf 1 follows the guest's CR4",
  () => {
    using m = machine(osxsave);
    const bit = (ecx: number) => (ecx >>> 27) & 1;
    equal([bit(m.expectOut(0x10)), bit(m.expectOut(0x10))], [0, 1], "OSXSAVE before and after");
  },
  { source: "SDM, CPUID" },
);

it("set-after-run", "the same CPUID may be set again after KVM_RUN; another is refused or taken, never half", () => {
  using m = machine(cpuid);
  m.next();
  const leaves = m.vcpu.getCpuid2();
  m.vcpu.setCpuid2(leaves);
  equal(m.vcpu.getCpuid2().length, leaves.length, "leaves");
});

it("too-many", "more leaves than the kernel keeps is E2BIG", () => {
  using m = machine(cpuid);
  refuses("E2BIG", () => m.vcpu.setCpuid2(Array.from({ length: 1000 }, (_, i) => leaf(0x40000000 + i, 0, 0, 0, 0))));
});

it("max-phys-bits-checked", "a virtual address width that is neither 48, 57 nor absent is EINVAL", () => {
  using m = machine(cpuid);
  refuses("EINVAL", () => m.vcpu.setCpuid2([leaf(0, 1, 0, 0, 0), leaf(0x80000008, (33 << 8) | 40, 0, 0, 0)]));
});
