/** Instructions that KVM has to emulate, and what happens when it cannot. */

import type { Vm } from "@tools-kvm/kvm-binding";
import * as b from "@tools-kvm/kvm-binding";
import { check, equal, needs } from "../expect.js";
import { asm32, asm64 } from "../guest/code.js";
import { DATA, MMIO, machine } from "../guest/machine.js";
import { HANDLER, HANDLER_ORG } from "../guest/snippets.js";
import { themeOf } from "../registry.js";

const it = themeOf("emulation", "api.rst, KVM_EXIT_INTERNAL_ERROR");

/** An x87 store to MMIO, which the emulator does not know. */
const unemulable = asm32`
  mov ebx, ${MMIO}
  fbstp [ebx]
  out 0x10, al
  hlt`;
/** FBSTP [EBX]. */
const UNEMULABLE_BYTES = [0xdf, 0x33];

it(
  "failure-exit",
  "an MMIO instruction that cannot be emulated is an internal error of kind emulation, and not silence",
  () => {
    using m = machine(unemulable);
    const run = m.expectExit(b.KVM_EXIT_INTERNAL_ERROR);
    equal(run.internalSuberror, b.KVM_INTERNAL_ERROR_EMULATION, "suberror");
  },
);

it("failure-address", "RIP is at the instruction that failed", () => {
  using m = machine(unemulable);
  m.expectExit(b.KVM_EXIT_INTERNAL_ERROR);
  equal(m.vcpu.getRegs().rip, 0x1005n, "RIP");
});

it(
  "failure-bytes",
  "with KVM_CAP_EXIT_ON_EMULATION_FAILURE the exit has the instruction's bytes",
  () => {
    using m = machine(unemulable, { prepare: exitOnFailure });
    const run = m.expectExit(b.KVM_EXIT_INTERNAL_ERROR);
    check((run.emulationFailureFlags & 1n) === 1n, `flags ${run.emulationFailureFlags}`);
    const { emulationFailureInsnSize: size, emulationFailureInsnBytes: bytes } = run;
    check(size >= UNEMULABLE_BYTES.length, `${size} bytes`);
    equal([...bytes.subarray(0, 2)], UNEMULABLE_BYTES, "bytes");
  },
  { source: "api.rst, KVM_CAP_EXIT_ON_EMULATION_FAILURE" },
);

function exitOnFailure(vm: Vm): void {
  needs("KVM_CAP_EXIT_ON_EMULATION_FAILURE", vm);
  vm.enableCap(b.KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
}

it("failure-skipped", "user space can step over the instruction and go on", () => {
  using m = machine(unemulable);
  m.expectExit(b.KVM_EXIT_INTERNAL_ERROR);
  const regs = m.vcpu.getRegs();
  regs.rip += BigInt(UNEMULABLE_BYTES.length);
  m.vcpu.setRegs(regs);
  m.expectOut(0x10, "the next instruction");
});

/** Each of them: what it does to memory that is MMIO, so that KVM has to emulate it, with the answer 0xf0. */
for (const [name, code, exits] of [
  ["and", asm32`mov ebx, ${MMIO}; mov eax, 0x3c; and [ebx], eax; hlt`, ["write dword 0xd0000000: 0x30", "hlt"]],
  ["xor", asm32`mov ebx, ${MMIO}; mov eax, 0xff; xor [ebx], eax; hlt`, ["write dword 0xd0000000: 0xf", "hlt"]],
  ["not", asm32`mov ebx, ${MMIO}; not dword ptr [ebx]; hlt`, ["write dword 0xd0000000: 0xffffff0f", "hlt"]],
  ["neg", asm32`mov ebx, ${MMIO}; neg dword ptr [ebx]; hlt`, ["write dword 0xd0000000: 0xffffff10", "hlt"]],
  ["inc", asm32`mov ebx, ${MMIO}; inc dword ptr [ebx]; hlt`, ["write dword 0xd0000000: 0xf1", "hlt"]],
  ["shl", asm32`mov ebx, ${MMIO}; shl dword ptr [ebx], 4; hlt`, ["write dword 0xd0000000: 0xf00", "hlt"]],
  ["bts", asm32`mov ebx, ${MMIO}; bts dword ptr [ebx], 0; hlt`, ["write dword 0xd0000000: 0xf1", "hlt"]],
  [
    "cmpxchg",
    asm32`mov ebx, ${MMIO}; mov eax, 0xf0; mov ecx, 7; cmpxchg [ebx], ecx; hlt`,
    ["write dword 0xd0000000: 0x7", "hlt"],
  ],
  ["xadd", asm32`mov ebx, ${MMIO}; mov eax, 1; xadd [ebx], eax; hlt`, ["write dword 0xd0000000: 0xf1", "hlt"]],
  [
    "test",
    asm32`mov ebx, ${MMIO}; test dword ptr [ebx], 0x10; setnz al; out 0x10, al; hlt`,
    ["out byte 0x10: 0x1", "hlt"],
  ],
  [
    "cmp",
    asm32`mov ebx, ${MMIO}; mov al, 0; cmp dword ptr [ebx], 0xf0; sete al; out 0x10, al; hlt`,
    ["out byte 0x10: 0x1", "hlt"],
  ],
  [
    "push-from",
    asm32`mov ebx, ${MMIO}; push dword ptr [ebx]; pop eax; out 0x10, al; hlt`,
    ["out byte 0x10: 0xf0", "hlt"],
  ],
] as const) {
  it(
    `mmio-${name}`,
    `${name.replace("-", " ")} with a memory operand in MMIO reads once and does what the processor would`,
    () => {
      using m = machine(code);
      equal(m.next(), "read dword 0xd0000000", "the read");
      m.answer(0xf0);
      equal(m.trace(), exits as readonly string[] as string[], "exits behind the read");
    },
    { source: "SDM, Instruction Set Reference" },
  );
}

const sse = asm64`
  mov rax, cr4
  or rax, 0x600
  mov cr4, rax
  mov ebx, ${MMIO}
  movdqu xmm0, [0x5000]
  movdqu [rbx], xmm0
  hlt`;

it(
  "mmio-sse",
  "a 16-byte SSE store to MMIO brings all sixteen bytes",
  () => {
    using m = machine(sse);
    for (let i = 0; i < 16; i++) m.view.setUint8(DATA + i, i + 1);
    equal(
      m.trace(),
      ["write qword 0xd0000000: 0x807060504030201", "write qword 0xd0000008: 0x100f0e0d0c0b0a09", "hlt"],
      "exits",
    );
  },
  { source: "api.rst, KVM_EXIT_MMIO" },
);

it(
  "fetch-from-mmio",
  "code at an address without memory does not run: an internal error, or an exception of the guest's",
  () => {
    using m = machine(jumpAway);
    const exit = m.next();
    check(/^(internal error|shutdown|read )/.test(exit), `exit: ${exit}`);
  },
);

const jumpAway = asm32`
  mov eax, ${MMIO}
  jmp eax`;

it(
  "invalid-opcode",
  "UD2 is the guest's own #UD",
  () => {
    using m = machine(ud2, { handlers: { 6: HANDLER } });
    m.expectOut(0x66, "#UD");
  },
  { source: "SDM, UD" },
);

const ud2 = asm32`
  ud2
  ${HANDLER_ORG}
  out 0x66, al
  hlt`;
