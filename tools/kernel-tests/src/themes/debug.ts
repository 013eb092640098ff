/** KVM_SET_GUEST_DEBUG: user space as the guest's debugger. */
import * as b from "@tools-kvm/kvm-binding";
import { between, check, equal, needs, refuses } from "../expect.js";
import { asm16, asm32, CODE } from "../guest/code.js";
import { machine } from "../guest/machine.js";
import { HANDLER, HANDLER_ORG } from "../guest/snippets.js";
import { themeOf } from "../registry.js";

const it = themeOf("debug", "api.rst, KVM_SET_GUEST_DEBUG");
const ENABLE = b.KVM_GUESTDBG_ENABLE;
const DEBUG_EXCEPTION = 1;
const BREAKPOINT_EXCEPTION = 3;
/** DR7: breakpoint n enabled globally; type 0 execution, 1 write, 3 access; length in bytes less one. */
const dr7 = (n: number, type: number, bytes: number): number =>
  0x400 | (2 << (2 * n)) | ((type | ((bytes - 1) << 2)) << (16 + 4 * n));

const nops = asm16`
  nop
  nop
  inc ax
  nop
  hlt`;

it("single-step", "single-stepping exits behind every instruction, with the address of the next", () => {
  using m = machine(nops);
  m.vcpu.setGuestDebug({ control: ENABLE | b.KVM_GUESTDBG_SINGLESTEP });
  for (const next of [1, 2, 3, 4]) {
    const run = m.expectExit(b.KVM_EXIT_DEBUG);
    equal([run.debugArchException, run.debugArchPc], [DEBUG_EXCEPTION, BigInt(CODE + next)], "exception and address");
  }
  equal(m.vcpu.getRegs().rax, 1n, "AX");
});

it("single-step-dr6", "the exit of a single step has BS in DR6", () => {
  using m = machine(nops);
  m.vcpu.setGuestDebug({ control: ENABLE | b.KVM_GUESTDBG_SINGLESTEP });
  equal(m.expectExit(b.KVM_EXIT_DEBUG).debugArchDr6 & 0x4000n, 0x4000n, "BS");
});

it("single-step-off", "after switching debugging off the guest runs on to its end", () => {
  using m = machine(nops);
  m.vcpu.setGuestDebug({ control: ENABLE | b.KVM_GUESTDBG_SINGLESTEP });
  m.expectExit(b.KVM_EXIT_DEBUG);
  m.vcpu.setGuestDebug({ control: 0 });
  equal(m.next(), "hlt", "exit");
});

it("single-step-hides-tf", "the trap flag of single-stepping is not the guest's: KVM_GET_REGS does not show it", () => {
  using m = machine(pushf);
  m.vcpu.setGuestDebug({ control: ENABLE | b.KVM_GUESTDBG_SINGLESTEP });
  m.expectExit(b.KVM_EXIT_DEBUG);
  m.expectExit(b.KVM_EXIT_DEBUG);
  equal(m.vcpu.getRegs().rflags & 0x100n, 0n, "TF by KVM_GET_REGS");
});

const pushf = asm16`
  pushf
  pop ax
  nop
  hlt`;

it("single-step-io", "stepping over a port write is the port's exit and then the step's", () => {
  using m = machine(portWrite);
  m.vcpu.setGuestDebug({ control: ENABLE | b.KVM_GUESTDBG_SINGLESTEP });
  m.expectExit(b.KVM_EXIT_DEBUG);
  equal(m.next(), "out byte 0x10: 0x7", "the port's exit");
  equal(m.expectExit(b.KVM_EXIT_DEBUG).debugArchPc, BigInt(CODE + 4), "the step's address");
});

const portWrite = asm16`
  mov al, 7
  out 0x10, al
  nop
  hlt`;

it("hardware-breakpoint", "a hardware execution breakpoint exits before its instruction, with its bit in DR6", () => {
  using m = machine(nops);
  m.vcpu.setGuestDebug({
    control: ENABLE | b.KVM_GUESTDBG_USE_HW_BP,
    debugreg: [0, CODE + 3, 0, 0, 0, 0, 0, dr7(1, 0, 1)],
  });
  const run = m.expectExit(b.KVM_EXIT_DEBUG);
  equal([run.debugArchPc, run.debugArchDr6 & 0xfn], [BigInt(CODE + 3), 2n], "address and DR6");
  equal(m.vcpu.getRegs().rax, 1n, "AX: the instruction before it has run");
});

it("hardware-breakpoint-of-four", "each of the four breakpoints fires", () => {
  for (const n of [0, 1, 2, 3]) {
    using m = machine(nops);
    const debugreg = [0, 0, 0, 0, 0, 0, 0, dr7(n, 0, 1)];
    debugreg[n] = CODE + 2;
    m.vcpu.setGuestDebug({ control: ENABLE | b.KVM_GUESTDBG_USE_HW_BP, debugreg });
    equal(m.expectExit(b.KVM_EXIT_DEBUG).debugArchDr6 & 0xfn, BigInt(1 << n), "DR6");
  }
});

const writer = asm32`
  mov ebx, 0x5000
  mov eax, [ebx]
  mov dword ptr [ebx], 1
  nop
  hlt`;

it("watchpoint", "a write watchpoint exits behind the write, and not at a read", () => {
  using m = machine(writer);
  m.vcpu.setGuestDebug({
    control: ENABLE | b.KVM_GUESTDBG_USE_HW_BP,
    debugreg: [0x5000, 0, 0, 0, 0, 0, 0, dr7(0, 1, 4)],
  });
  const run = m.expectExit(b.KVM_EXIT_DEBUG);
  equal(run.debugArchDr6 & 0xfn, 1n, "DR6");
  between(run.debugArchPc, CODE + 13, CODE + 14, "address behind the write");
  equal(m.view.getUint32(0x5000, true), 1, "memory");
});

it("watchpoint-access", "an access watchpoint exits at a read too", () => {
  using m = machine(writer);
  m.vcpu.setGuestDebug({
    control: ENABLE | b.KVM_GUESTDBG_USE_HW_BP,
    debugreg: [0x5000, 0, 0, 0, 0, 0, 0, dr7(0, 3, 4)],
  });
  equal(m.expectExit(b.KVM_EXIT_DEBUG).debugArchPc, BigInt(CODE + 7), "address behind the read");
});

const int3 = asm32`
  nop
  int3
  hlt
  ${HANDLER_ORG}
  out 0x99, al
  hlt`;

it("software-breakpoint", "with software breakpoints INT3 is an exit with exception 3 at its address", () => {
  using m = machine(int3, { handlers: { 3: HANDLER } });
  m.vcpu.setGuestDebug({ control: ENABLE | b.KVM_GUESTDBG_USE_SW_BP });
  const run = m.expectExit(b.KVM_EXIT_DEBUG);
  equal([run.debugArchException, run.debugArchPc], [BREAKPOINT_EXCEPTION, BigInt(CODE + 1)], "exception and address");
});

it("software-breakpoint-off", "without them INT3 is the guest's own exception 3", () => {
  using m = machine(int3, { handlers: { 3: HANDLER } });
  m.expectOut(0x99, "#BP");
});

it("inject-breakpoint", "KVM_GUESTDBG_INJECT_BP gives the guest an exception 3", () => {
  using m = machine(nops32, { handlers: { 3: HANDLER } });
  m.vcpu.setGuestDebug({ control: ENABLE | b.KVM_GUESTDBG_INJECT_BP });
  m.expectOut(0x99, "#BP");
});

const nops32 = asm32`
  nop
  hlt
  ${HANDLER_ORG}
  out 0x99, al
  hlt`;

it(
  "flags-supported",
  "the flags KVM says it supports are taken",
  () => {
    using m = machine(nops);
    const supported = needs("KVM_CAP_SET_GUEST_DEBUG2", m.vm);
    check((supported & ENABLE) !== 0, "KVM_GUESTDBG_ENABLE is not supported");
    m.vcpu.setGuestDebug({ control: supported & (ENABLE | b.KVM_GUESTDBG_SINGLESTEP | b.KVM_GUESTDBG_BLOCKIRQ) });
    m.expectExit(b.KVM_EXIT_DEBUG);
  },
  { source: "api.rst, KVM_CAP_SET_GUEST_DEBUG2" },
);

it("inject-while-pending", "injecting a debug exception while another exception is pending is EBUSY", () => {
  using m = machine(nops32);
  m.vm.enableCap(b.KVM_CAP_EXCEPTION_PAYLOAD, 1);
  const events = m.vcpu.getVcpuEvents();
  events.assign({
    exceptionPending: 1,
    exceptionNr: 13,
    exceptionHasErrorCode: 1,
    flags: b.KVM_VCPUEVENT_VALID_PAYLOAD,
  });
  m.vcpu.setVcpuEvents(events);
  refuses("EBUSY", () => m.vcpu.setGuestDebug({ control: ENABLE | b.KVM_GUESTDBG_INJECT_BP }));
});
