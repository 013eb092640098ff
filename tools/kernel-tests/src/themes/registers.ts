/** A vCPU's state: what can be read and written, and what is refused. */

import type { Sregs } from "@tools-kvm/kvm-binding";
import * as b from "@tools-kvm/kvm-binding";
import { check, equal, needs, refuses } from "../expect.js";
import { asm16, asm32, asm64, CODE } from "../guest/code.js";
import { DATA, machine, PAGE_TABLES, STACK_TOP } from "../guest/machine.js";
import { HANDLER, HANDLER_ORG } from "../guest/snippets.js";
import { themeOf } from "../registry.js";

const it = themeOf("registers", "api.rst, KVM_SET_SREGS");

const idle = asm16`hlt`;
const idle64 = asm64`hlt`;

const NAMES = [
  "rax",
  "rbx",
  "rcx",
  "rdx",
  "rsi",
  "rdi",
  "rsp",
  "rbp",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
] as const;

it(
  "general",
  "all sixteen registers, RIP and RFLAGS that are set are read back",
  () => {
    using m = machine(idle);
    const values = Object.fromEntries(NAMES.map((name, i) => [name, 0x1111_1111_1111_1111n * BigInt(i)]));
    m.vcpu.setRegs({ ...values, rip: CODE, rflags: 0xad7n } as never);
    const regs = m.vcpu.getRegs();
    equal(
      NAMES.map((name) => regs[name]),
      NAMES.map((name) => values[name]!),
      "registers",
    );
    equal([regs.rip, regs.rflags], [BigInt(CODE), 0xad7n], "RIP and RFLAGS");
  },
  { source: "api.rst, KVM_SET_REGS" },
);

it(
  "rflags-bit-1",
  "bit 1 of RFLAGS is set whatever user space says",
  () => {
    using m = machine(idle);
    m.vcpu.setRegs({ rip: CODE, rflags: 0 });
    equal(m.vcpu.getRegs().rflags & 2n, 2n, "bit 1");
  },
  { source: "SDM, EFLAGS Register" },
);

const swap = asm64`
  xchg rax, r15
  xchg rbx, r14
  xchg rcx, r13
  hlt`;

it(
  "guest-uses-them",
  "the guest finds the registers it was given, and user space what the guest made of them",
  () => {
    using m = machine(swap);
    const regs = m.vcpu.getRegs();
    regs.assign({
      rax: 1,
      rbx: 2,
      rcx: 3,
      r13: 0xffff_0000_0000_0003n,
      r14: 0xffff_0000_0000_0002n,
      r15: 0xffff_0000_0000_0001n,
    });
    m.vcpu.setRegs(regs);
    equal(m.next(), "hlt", "exit");
    const { rax, rbx, rcx, r13, r14, r15 } = m.vcpu.getRegs();
    equal([rax, rbx, rcx], [0xffff_0000_0000_0001n, 0xffff_0000_0000_0002n, 0xffff_0000_0000_0003n], "RAX, RBX, RCX");
    equal([r13, r14, r15], [3n, 2n, 1n], "R13, R14, R15");
  },
  { source: "api.rst, KVM_GET_REGS" },
);

it("segments", "every segment's selector, base, limit and attributes are read back", () => {
  using m = machine(idle);
  const sregs = m.vcpu.getSregs();
  (["ds", "es", "fs", "gs"] as const).forEach((name, i) => {
    sregs[name].assign({
      selector: 0x10 + 8 * i,
      base: 0x1000 * i,
      limit: 0xfff + i,
      type: 3,
      s: 1,
      present: 1,
      g: 0,
      db: 0,
    });
  });
  m.vcpu.setSregs(sregs);
  const back = m.vcpu.getSregs();
  for (const name of ["ds", "es", "fs", "gs"] as const) equal(back[name].toObject(), sregs[name].toObject(), name);
});

it("tables", "GDT and IDT registers, CR2, CR3 and CR8 are read back", () => {
  using m = machine(idle64);
  const sregs = m.vcpu.getSregs();
  sregs.gdt.assign({ base: 0x6000, limit: 0x2f });
  sregs.idt.assign({ base: 0x7000, limit: 0x3ff });
  sregs.assign({ cr2: 0xdeadb000, cr8: 5 });
  m.vcpu.setSregs(sregs);
  const back = m.vcpu.getSregs();
  equal([back.gdt.toObject(), back.idt.toObject()], [sregs.gdt.toObject(), sregs.idt.toObject()], "GDT and IDT");
  equal([back.cr2, back.cr3, back.cr8], [0xdeadb000n, BigInt(PAGE_TABLES), 5n], "CR2, CR3, CR8");
});

for (const [name, promise, change] of [
  [
    "bad-cr4",
    "a reserved bit of CR4 is EINVAL",
    (s: Sregs) => {
      s.cr4 |= 1n << 40n;
    },
  ],
  [
    "bad-cr0-pg-without-pe",
    "paging without protection is EINVAL",
    (s: Sregs) => {
      s.cr0 = 0x80000000n;
      s.efer = 0n;
    },
  ],
  [
    "bad-long-mode-without-pae",
    "long mode without PAE is EINVAL",
    (s: Sregs) => {
      s.cr4 &= ~0x20n;
    },
  ],
  [
    "bad-lma-without-lme",
    "LMA in EFER without paging in CR0 is EINVAL, or LME without LMA with it",
    (s: Sregs) => {
      s.efer &= ~0x400n;
    },
  ],
  [
    "bad-cs",
    "a 64-bit code segment outside long mode is EINVAL",
    (s: Sregs) => {
      s.assign({ cr0: 0x11n, efer: 0n });
    },
  ],
  [
    "bad-cr0-upper",
    "an upper half of CR0 is EINVAL",
    (s: Sregs) => {
      s.cr0 |= 1n << 33n;
    },
  ],
  [
    "bad-cr3",
    "a CR3 beyond the physical address width is EINVAL",
    (s: Sregs) => {
      s.cr3 = 1n << 60n;
    },
  ],
] as [string, string, (sregs: Sregs) => void][]) {
  it(name, `${promise}, and changes nothing`, () => {
    using m = machine(idle64);
    const before = m.vcpu.getSregs();
    const changed = m.vcpu.getSregs();
    change(changed);
    refuses("EINVAL", () => m.vcpu.setSregs(changed));
    const { cr0, cr3, cr4, efer } = m.vcpu.getSregs();
    equal([cr0, cr3, cr4, efer], [before.cr0, before.cr3, before.cr4, before.efer], "CR0, CR3, CR4, EFER");
  });
}

it(
  "sregs2",
  "KVM_GET_SREGS2 says the same as KVM_GET_SREGS, and is written back without an error",
  () => {
    using m = machine(idle64);
    needs("KVM_CAP_SREGS2", m.vm);
    const one = m.vcpu.getSregs();
    const two = m.vcpu.getSregs2();
    equal([two.cr0, two.cr3, two.cr4, two.efer], [one.cr0, one.cr3, one.cr4, one.efer], "CR0, CR3, CR4, EFER");
    m.vcpu.setSregs2(two);
  },
  { source: "api.rst, KVM_GET_SREGS2" },
);

it(
  "sregs2-flags-checked",
  "unknown flags of KVM_SET_SREGS2 are EINVAL",
  () => {
    using m = machine(idle64);
    needs("KVM_CAP_SREGS2", m.vm);
    const two = m.vcpu.getSregs2();
    two.flags = 1n << 20n;
    refuses("EINVAL", () => m.vcpu.setSregs2(two));
  },
  { source: "api.rst, KVM_SET_SREGS2" },
);

it(
  "fpu",
  "the FPU's control and status words and the XMM registers are read back",
  () => {
    using m = machine(idle);
    const fpu = m.vcpu.getFpu();
    fpu.assign({ fcw: 0x27f, fsw: 0x3800, lastOpcode: 0x123 });
    fpu.xmm.set(Uint8Array.from({ length: 256 }, (_, i) => i));
    m.vcpu.setFpu(fpu);
    const back = m.vcpu.getFpu();
    equal([back.fcw, back.fsw, back.lastOpcode], [0x27f, 0x3800, 0x123], "FCW, FSW, FOP");
    equal([...back.xmm], [...fpu.xmm], "XMM registers");
  },
  { source: "api.rst, KVM_SET_FPU" },
);

it(
  "fpu-mxcsr",
  "MXCSR that is set by KVM_SET_FPU is read back",
  () => {
    using m = machine(idle);
    const fpu = m.vcpu.getFpu();
    fpu.mxcsr = 0x1fa0;
    m.vcpu.setFpu(fpu);
    equal(m.vcpu.getFpu().mxcsr, 0x1fa0, "MXCSR");
  },
  { source: "api.rst, KVM_SET_FPU", expectedFailure: "KVM copies every member of struct kvm_fpu but MXCSR" },
);

it(
  "xsave-is-fpu",
  "KVM_GET_FPU shows what KVM_SET_XSAVE wrote into the legacy region",
  () => {
    using m = machine(idle);
    const xsave = m.vcpu.getXsave();
    xsave.bytes.fill(0xa5, 160, 176);
    xsave.bytes[512]! |= 2;
    m.vcpu.setXsave(xsave);
    equal([...m.vcpu.getFpu().xmm.subarray(0, 16)], Array(16).fill(0xa5), "XMM0");
  },
  { source: "api.rst, KVM_SET_XSAVE" },
);

it(
  "xsave-bad-header",
  "an XSAVE header with a reserved bit, or MXCSR with one, is EINVAL",
  () => {
    using m = machine(idle);
    const header = m.vcpu.getXsave();
    header.bytes[519] = 0xff;
    refuses("EINVAL", () => m.vcpu.setXsave(header));
    const mxcsr = m.vcpu.getXsave();
    mxcsr.bytes[512] = 3;
    mxcsr.bytes[27] = 0xff;
    refuses("EINVAL", () => m.vcpu.setXsave(mxcsr));
  },
  { source: "api.rst, KVM_SET_XSAVE" },
);

it(
  "xcr0",
  "XCR0 without the x87 bit is EINVAL, the one that was read is taken",
  () => {
    using m = machine(idle);
    const xcrs = m.vcpu.getXcrs();
    m.vcpu.setXcrs(xcrs);
    xcrs.xcrs[0]!.value = 0n;
    refuses("EINVAL", () => m.vcpu.setXcrs(xcrs));
  },
  { source: "api.rst, KVM_SET_XCRS" },
);

it(
  "debugregs",
  "DR0 to DR3, DR6 and DR7 are read back",
  () => {
    using m = machine(idle);
    const regs = m.vcpu.getDebugregs();
    regs.db.set([0x1000n, 0x2000n, 0x3000n, 0x4000n]);
    regs.assign({ dr6: 0xffff0ff1n, dr7: 0x455n });
    m.vcpu.setDebugregs(regs);
    const back = m.vcpu.getDebugregs();
    equal([[...back.db], back.dr6, back.dr7], [[...regs.db], 0xffff0ff1n, 0x455n], "debug registers");
  },
  { source: "api.rst, KVM_SET_DEBUGREGS" },
);

it(
  "debugregs-checked",
  "an upper half of DR7 and flags are EINVAL",
  () => {
    using m = machine(idle);
    const regs = m.vcpu.getDebugregs();
    regs.dr7 |= 1n << 40n;
    refuses("EINVAL", () => m.vcpu.setDebugregs(regs));
    const flags = m.vcpu.getDebugregs();
    flags.flags = 1n;
    refuses("EINVAL", () => m.vcpu.setDebugregs(flags));
  },
  { source: "api.rst, KVM_SET_DEBUGREGS" },
);

it(
  "events-flags-checked",
  "flags of KVM_SET_VCPU_EVENTS that do not exist are EINVAL",
  () => {
    using m = machine(idle);
    const events = m.vcpu.getVcpuEvents();
    events.flags = 0x8000;
    refuses("EINVAL", () => m.vcpu.setVcpuEvents(events));
  },
  { source: "api.rst, KVM_SET_VCPU_EVENTS" },
);

const handler = asm32`
  nop
  hlt
  ${HANDLER_ORG}
  pop eax
  out 0x10, eax
  pop eax
  out 0x11, eax
  hlt`;

it(
  "events-inject-exception",
  "an exception that user space injects is delivered with its error code before the next instruction",
  () => {
    using m = machine(handler, { handlers: { 13: HANDLER } });
    const events = m.vcpu.getVcpuEvents();
    events.assign({ exceptionInjected: 1, exceptionNr: 13, exceptionHasErrorCode: 1, exceptionErrorCode: 0x58 });
    m.vcpu.setVcpuEvents(events);
    equal([m.expectOut(0x10), m.expectOut(0x11)], [0x58, CODE], "error code and EIP on the stack");
  },
  { source: "api.rst, KVM_SET_VCPU_EVENTS" },
);

it(
  "events-inject-nmi",
  "an NMI that user space makes pending by events is delivered",
  () => {
    using m = machine(nmiHandler, { handlers: { 2: HANDLER } });
    const events = m.vcpu.getVcpuEvents();
    events.assign({ nmiPending: 1, flags: b.KVM_VCPUEVENT_VALID_NMI_PENDING });
    m.vcpu.setVcpuEvents(events);
    m.expectOut(0x77, "the NMI");
  },
  { source: "api.rst, KVM_SET_VCPU_EVENTS" },
);

const nmiHandler = asm32`
1: nop
  jmp 1b
  ${HANDLER_ORG}
  out 0x77, al
  hlt`;

it(
  "events-exception-checked",
  "an exception number beyond 31, or the NMI's, is EINVAL",
  () => {
    using m = machine(handler);
    for (const exceptionNr of [2, 32, 200]) {
      const events = m.vcpu.getVcpuEvents();
      events.assign({ exceptionInjected: 1, exceptionNr });
      refuses("EINVAL", () => m.vcpu.setVcpuEvents(events));
    }
  },
  { source: "api.rst, KVM_SET_VCPU_EVENTS" },
);

const count = asm16`
1: inc ax
  out 0x10, al
  jmp 1b`;

it(
  "sync-regs-out",
  "asked for, the registers are in the run page after each exit",
  () => {
    using m = machine(count);
    const fields = needs("KVM_CAP_SYNC_REGS", m.vm);
    m.run.kvmValidRegs = BigInt(fields & (b.KVM_SYNC_X86_REGS | b.KVM_SYNC_X86_SREGS));
    m.expectOut(0x10);
    equal([m.run.syncRegs.regs.rax, m.run.syncRegs.regs.rsp], [1n, BigInt(STACK_TOP)], "RAX and RSP");
    equal(m.run.syncRegs.sregs.cr0, m.vcpu.getSregs().cr0, "CR0");
  },
  { source: "api.rst, KVM_CAP_SYNC_REGS" },
);

it(
  "sync-regs-in",
  "registers marked dirty in the run page are taken by the next KVM_RUN, and the mark is gone",
  () => {
    using m = machine(count);
    needs("KVM_CAP_SYNC_REGS", m.vm);
    m.run.kvmValidRegs = BigInt(b.KVM_SYNC_X86_REGS);
    m.expectOut(0x10);
    m.run.syncRegs.regs.rax = 0x40n;
    m.run.kvmDirtyRegs = BigInt(b.KVM_SYNC_X86_REGS);
    equal(m.expectOut(0x10), 0x41, "AL");
    equal(m.run.kvmDirtyRegs, 0n, "dirty registers");
  },
  { source: "api.rst, KVM_CAP_SYNC_REGS" },
);

it(
  "sync-regs-checked",
  "an unknown bit in the valid or dirty registers makes KVM_RUN EINVAL",
  () => {
    using m = machine(count);
    needs("KVM_CAP_SYNC_REGS", m.vm);
    m.run.kvmValidRegs = 0x8000n;
    refuses("EINVAL", () => m.vcpu.run());
    m.run.kvmValidRegs = 0n;
    m.run.kvmDirtyRegs = 0x8000n;
    refuses("EINVAL", () => m.vcpu.run());
  },
  { source: "api.rst, KVM_CAP_SYNC_REGS" },
);

it(
  "translate",
  "KVM_TRANSLATE goes through the guest's page tables, and says what is not mapped",
  () => {
    using m = machine(idle64);
    m.view.setBigUint64(PAGE_TABLES + 0x2000 + 8, 0n, true);
    const { physicalAddress, valid } = m.vcpu.translate(DATA);
    equal([physicalAddress, valid], [BigInt(DATA), 1], "a mapped address");
    equal(m.vcpu.translate(0x200000).valid, 0, "valid of an address that is not mapped");
  },
  { source: "api.rst, KVM_TRANSLATE" },
);

it(
  "run-page-flags",
  "the run page says CR8, the interrupt flag and the APIC's base after an exit",
  () => {
    using m = machine(flags);
    m.expectOut(0x10);
    equal([m.run.ifFlag, m.run.cr8], [0, 0n], "IF and CR8 at first");
    m.expectOut(0x10);
    equal(m.run.ifFlag, 1, "IF after STI");
    check(
      (m.run.apicBase & ~0xfffn) === 0xfee00000n || m.run.apicBase === 0n,
      `APIC base 0x${m.run.apicBase.toString(16)}`,
    );
  },
  { source: "api.rst, The kvm_run structure" },
);

const flags = asm16`
  out 0x10, al
  sti
  nop
  out 0x10, al
  hlt`;
