/** Port I/O that nobody in the kernel answers comes to user space. */
import * as b from "@tools-kvm/kvm-binding";
import { equal } from "../expect.js";
import { asm16, asm32, asm64 } from "../guest/code.js";
import { DATA, machine } from "../guest/machine.js";
import { themeOf } from "../registry.js";

const it = themeOf("port-io", "api.rst, KVM_EXIT_IO");

const writes = asm16`
  mov eax, 0x44332211
  mov dx, 0x3f8
  out dx, al
  out dx, ax
  out dx, eax
  hlt`;

it("widths", "a write exits with its port, its width of 1, 2 or 4 bytes and its value", () => {
  using m = machine(writes);
  equal(m.trace(), ["out byte 0x3f8: 0x11", "out word 0x3f8: 0x2211", "out dword 0x3f8: 0x44332211", "hlt"], "exits");
});

it("widths-protected", "a write in 32-bit mode exits as in real mode", () => {
  using m = machine(writesProtected);
  equal(m.trace(), ["out byte 0x3f8: 0x11", "out dword 0x3f8: 0x44332211", "hlt"], "exits");
});

const writesProtected = asm32`
  mov eax, 0x44332211
  mov dx, 0x3f8
  out dx, al
  out dx, eax
  hlt`;

const writesLong = asm64`
  mov rax, 0x44332211
  mov dx, 0x3f8
  out dx, al
  out dx, eax
  hlt`;

it("widths-long", "a write in long mode exits as in real mode", () => {
  using m = machine(writesLong);
  equal(m.trace(), ["out byte 0x3f8: 0x11", "out dword 0x3f8: 0x44332211", "hlt"], "exits");
});

const lastPorts = asm16`
  mov al, 7
  out 0, al
  mov dx, 0xffff
  out dx, al
  hlt`;

it("first-and-last-port", "ports 0 and 0xffff are ports like all others", () => {
  using m = machine(lastPorts);
  equal(m.trace(), ["out byte 0x0: 0x7", "out byte 0xffff: 0x7", "hlt"], "exits");
});

const reads = asm16`
  mov eax, 0xaaaaaaaa
  in al, 0x60
  mov ebx, eax
  mov eax, 0xaaaaaaaa
  in ax, 0x60
  mov ecx, eax
  in eax, 0x60
  mov edx, eax
  hlt`;

it("read-values", "a read gets what user space put into the page, and changes no more of EAX than its width", () => {
  using m = machine(reads);
  for (const [width, value] of [
    ["byte", 0x12],
    ["word", 0x3456],
    ["dword", 0x789abcde],
  ] as const) {
    equal(m.next(), `in ${width} 0x60`, "exit");
    m.answer(value);
  }
  equal(m.next(), "hlt", "exit");
  const { rbx, rcx, rdx } = m.vcpu.getRegs();
  equal(
    [rbx & 0xffffffffn, rcx & 0xffffffffn, rdx & 0xffffffffn],
    [0xaaaaaa12n, 0xaaaa3456n, 0x789abcden],
    "EBX, ECX, EDX",
  );
});

const readLong = asm64`
  mov rax, -1
  in eax, 0x60
  hlt`;

it(
  "read-zero-extends",
  "a 32-bit read in long mode clears the upper half of RAX",
  () => {
    using m = machine(readLong);
    equal(m.next(), "in dword 0x60", "exit");
    m.answer(0x89abcdef);
    equal(m.next(), "hlt", "exit");
    equal(m.vcpu.getRegs().rax, 0x89abcdefn, "RAX");
  },
  { source: "SDM 3.4.1.1 General-Purpose Registers in 64-Bit Mode" },
);

const stringOut = asm16`
  cld
  mov si, 0x5000
  mov cx, 5
  mov dx, 0xe9
  rep outsb
  mov ax, cx
  out 0x10, ax
  mov ax, si
  out 0x10, ax
  hlt`;

/** The bytes of a run of string writes, however many each exit has. */
function text(exits: readonly string[]): string {
  return exits
    .filter((exit) => exit.startsWith("out byte 0xe9"))
    .flatMap((exit) => exit.split(": ")[1]!.split(" "))
    .map((byte) => String.fromCharCode(Number(byte)))
    .join("");
}

it("string-write", "REP OUTSB brings every byte once and in order, and leaves CX and SI behind the last", () => {
  using m = machine(stringOut);
  m.memory.bytes.set(Buffer.from("hello"), DATA);
  const exits = m.trace();
  equal(text(exits), "hello", "text");
  equal(exits.slice(-3), ["out word 0x10: 0x0", "out word 0x10: 0x5005", "hlt"], "CX and SI");
});

const stringOutDown = asm16`
  std
  mov si, 0x5004
  mov cx, 5
  mov dx, 0xe9
  rep outsb
  hlt`;

it(
  "string-write-down",
  "with the direction flag set, REP OUTSB goes downwards",
  () => {
    using m = machine(stringOutDown);
    m.memory.bytes.set(Buffer.from("olleh"), DATA);
    equal(text(m.trace()), "hello", "text");
  },
  { source: "SDM, OUTS/OUTSB/OUTSW/OUTSD" },
);

const stringIn = asm16`
  cld
  mov di, 0x5ffe
  mov cx, 4
  mov dx, 0x60
  rep insb
  mov ax, di
  out 0x10, ax
  hlt`;

it("string-read-across-pages", "REP INSB stores every byte that was answered, across a page boundary too", () => {
  using m = machine(stringIn);
  let next = 0x41;
  let exit = m.next();
  for (; exit.startsWith("in byte 0x60"); exit = m.next()) {
    const { ioCount, ioDataOffset } = m.run;
    for (let i = 0; i < ioCount; i++) new Uint8Array(m.vcpu.runPage)[Number(ioDataOffset) + i] = next++;
  }
  equal(exit, "out word 0x10: 0x6002", "DI behind the last");
  equal(Buffer.from(m.memory.bytes.slice(0x5ffe, 0x6002)).toString(), "ABCD", "memory");
});

const stringOutLong = asm16`
  cld
  mov si, 0x5000
  mov cx, 3000
  mov dx, 0xe9
  rep outsw
  hlt`;

it("string-write-long", "a REP OUTSW longer than a page brings each element once", () => {
  using m = machine(stringOutLong);
  for (let i = 0; i < 3000; i++) m.view.setUint16(DATA + 2 * i, i, true);
  const values: number[] = [];
  while (m.vcpu.run() === b.KVM_EXIT_IO) {
    const { ioCount, ioDataOffset } = m.run;
    for (let i = 0; i < ioCount; i++)
      values.push(new DataView(m.vcpu.runPage).getUint16(Number(ioDataOffset) + 2 * i, true));
  }
  equal(values.length, 3000, "elements");
  equal(
    values.findIndex((value, i) => value !== i),
    -1,
    "first element out of order",
  );
});

const repZero = asm16`
  mov si, 0x5000
  xor cx, cx
  mov dx, 0xe9
  rep outsb
  hlt`;

it(
  "string-write-nothing",
  "a REP OUTSB with CX 0 exits not at all",
  () => {
    using m = machine(repZero);
    equal(m.next(), "hlt", "exit");
  },
  { source: "SDM, REP" },
);

it(
  "pending-read-completes",
  "a read whose answer is in the page is completed by the next KVM_RUN before anything else, an immediate exit too",
  () => {
    using m = machine(reads);
    equal(m.next(), "in byte 0x60", "exit");
    m.answer(0x5a);
    m.run.immediateExit = 1;
    equal(m.next(), "-EINTR", "run");
    equal(m.vcpu.getRegs().rax & 0xffn, 0x5an, "AL");
    equal(m.vcpu.getRegs().rip, BigInt(0x1000 + 8), "RIP");
  },
  { source: "api.rst, KVM_EXIT_IO, immediate_exit" },
);
