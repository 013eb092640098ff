/** Accesses to guest-physical addresses without memory come to user space. */
import { check, equal } from "../expect.js";
import { asm16, asm32, asm64 } from "../guest/code.js";
import { MEMORY_BYTES, MMIO, machine } from "../guest/machine.js";
import { themeOf } from "../registry.js";

const it = themeOf("mmio", "api.rst, KVM_EXIT_MMIO");

const writes = asm32`
  mov eax, 0x44332211
  mov ebx, ${MMIO}
  mov [ebx], al
  mov [ebx + 2], ax
  mov [ebx + 4], eax
  hlt`;

it("widths", "a write exits with its address, its width and its value", () => {
  using m = machine(writes);
  equal(
    m.trace(),
    ["write byte 0xd0000000: 0x11", "write word 0xd0000002: 0x2211", "write dword 0xd0000004: 0x44332211", "hlt"],
    "exits",
  );
});

const write64 = asm64`
  movabs rax, 0x8877665544332211
  mov ebx, ${MMIO}
  mov [rbx], rax
  hlt`;

it("width-8", "a 64-bit write is one exit of 8 bytes", () => {
  using m = machine(write64);
  equal(m.trace(), ["write qword 0xd0000000: 0x8877665544332211", "hlt"], "exits");
});

const reads = asm32`
  mov ebx, ${MMIO}
  mov eax, 0xaaaaaaaa
  mov al, [ebx]
  mov ecx, eax
  movzx edx, byte ptr [ebx + 1]
  movsx esi, byte ptr [ebx + 2]
  mov edi, [ebx + 4]
  hlt`;

it("read-values", "a read gets what user space put into the exit, extended as the instruction says", () => {
  using m = machine(reads);
  const answers: [string, number][] = [
    ["read byte 0xd0000000", 0x11],
    ["read byte 0xd0000001", 0xf2],
    ["read byte 0xd0000002", 0xf3],
    ["read dword 0xd0000004", 0x89abcdef],
  ];
  for (const [exit, value] of answers) {
    equal(m.next(), exit, "exit");
    m.answer(value);
  }
  equal(m.next(), "hlt", "exit");
  const { rcx, rdx, rsi, rdi } = m.vcpu.getRegs();
  equal([rcx, rdx, rsi, rdi], [0xaaaaaa11n, 0xf2n, 0xfffffff3n, 0x89abcdefn], "ECX, EDX, ESI, EDI");
});

const modify = asm32`
  mov ebx, ${MMIO}
  or dword ptr [ebx], 0x100
  hlt`;

it(
  "read-modify-write",
  "an instruction that reads and writes is a read and then a write of what it made of the answer",
  () => {
    using m = machine(modify);
    equal(m.next(), "read dword 0xd0000000", "first exit");
    m.answer(0x41);
    equal(m.next(), "write dword 0xd0000000: 0x141", "second exit");
    equal(m.next(), "hlt", "third exit");
  },
);

const exchange = asm32`
  mov ebx, ${MMIO}
  mov eax, 0x22
  xchg [ebx], eax
  hlt`;

it("exchange", "XCHG with MMIO reads the old value and writes the register's", () => {
  using m = machine(exchange);
  equal(m.next(), "read dword 0xd0000000", "first exit");
  m.answer(0x77);
  equal(m.next(), "write dword 0xd0000000: 0x22", "second exit");
  equal(m.next(), "hlt", "third exit");
  equal(m.vcpu.getRegs().rax, 0x77n, "EAX");
});

const unaligned = asm32`
  mov ebx, ${MMIO + 3}
  mov eax, 0x44332211
  mov [ebx], eax
  hlt`;

it("unaligned", "an unaligned write within a page has all its bytes, each at its address", () => {
  using m = machine(unaligned);
  equal(
    bytesOf(m.trace()),
    [
      [MMIO + 3, 0x11],
      [MMIO + 4, 0x22],
      [MMIO + 5, 0x33],
      [MMIO + 6, 0x44],
    ],
    "bytes",
  );
});

const crossing = asm32`
  mov ebx, ${MMIO + 0xffe}
  mov eax, 0x44332211
  mov [ebx], eax
  hlt`;

it("page-crossing-write", "a write over a page boundary is split at it, and loses no byte", () => {
  using m = machine(crossing);
  const exits = m.trace();
  check(exits.length === 3, `expected two writes and hlt, got ${exits.join("; ")}`);
  equal(
    bytesOf(exits),
    [
      [MMIO + 0xffe, 0x11],
      [MMIO + 0xfff, 0x22],
      [MMIO + 0x1000, 0x33],
      [MMIO + 0x1001, 0x44],
    ],
    "bytes",
  );
});

/** Every written byte with its address, in the order of addresses. */
function bytesOf(exits: readonly string[]): [number, number][] {
  const lengths: Record<string, number> = { byte: 1, word: 2, dword: 4, qword: 8 };
  return exits
    .flatMap((exit): [number, number][] => {
      const parts = /^write (\w+)(?: bytes)? 0x([0-9a-f]+): 0x([0-9a-f]+)$/.exec(exit);
      if (parts === null) return [];
      const [, width, address, value] = parts as unknown as [string, string, string, string];
      return Array.from({ length: lengths[width] ?? Number(width) }, (_, i) => [
        Number.parseInt(address, 16) + i,
        Number((BigInt(`0x${value}`) >> BigInt(8 * i)) & 0xffn),
      ]);
    })
    .sort(([a], [c]) => a - c);
}

const crossingRead = asm32`
  mov ebx, ${MMIO + 0xffe}
  mov eax, [ebx]
  hlt`;

it("page-crossing-read", "a read over a page boundary is put together from two answers", () => {
  using m = machine(crossingRead);
  equal(m.next(), "read word 0xd0000ffe", "first exit");
  m.answer(0x2211);
  equal(m.next(), "read word 0xd0001000", "second exit");
  m.answer(0x4433);
  equal(m.next(), "hlt", "third exit");
  equal(m.vcpu.getRegs().rax, 0x44332211n, "EAX");
});

const memoryToMmio = asm32`
  mov ebx, ${MEMORY_BYTES - 2}
  mov eax, 0x44332211
  mov [ebx], eax
  hlt`;

it(
  "half-in-memory",
  "a write that begins in memory and ends behind it stores the first part and exits with the second",
  () => {
    using m = machine(memoryToMmio);
    equal(m.trace(), ["write word 0x100000: 0x4433", "hlt"], "exits");
    equal([...m.memory.bytes.slice(-2)], [0x11, 0x22], "memory's last bytes");
  },
);

const stringFill = asm32`
  cld
  mov edi, ${MMIO}
  mov eax, 0x55
  mov ecx, 4
  rep stosb
  hlt`;

it("string-fill", "REP STOSB to MMIO writes each byte once, upwards", () => {
  using m = machine(stringFill);
  equal(
    bytesOf(m.trace()),
    [
      [MMIO, 0x55],
      [MMIO + 1, 0x55],
      [MMIO + 2, 0x55],
      [MMIO + 3, 0x55],
    ],
    "bytes",
  );
  equal(m.vcpu.getRegs().rdi, BigInt(MMIO + 4), "EDI");
});

const stringCopy = asm32`
  cld
  mov esi, ${MMIO}
  mov edi, 0x5000
  mov ecx, 3
  rep movsd
  hlt`;

it("string-copy", "REP MOVSD from MMIO reads each element once, in order, and stores the answers", () => {
  using m = machine(stringCopy);
  for (let i = 0; i < 3; i++) {
    equal(m.next(), `read dword 0x${(MMIO + 4 * i).toString(16)}`, "exit");
    m.answer(0x100 + i);
  }
  equal(m.next(), "hlt", "exit");
  equal(
    [0, 1, 2].map((i) => m.view.getUint32(0x5000 + 4 * i, true)),
    [0x100, 0x101, 0x102],
    "memory",
  );
});

const push = asm32`
  mov esp, ${MMIO + 0x10}
  push 0x1234
  hlt`;

it("stack", "a push onto MMIO is a write below the old stack pointer", () => {
  using m = machine(push);
  equal(m.trace(), ["write dword 0xd000000c: 0x1234", "hlt"], "exits");
  equal(m.vcpu.getRegs().rsp, BigInt(MMIO + 0xc), "ESP");
});

const realMode = asm16`
  mov ax, 0xffff
  mov ds, ax
  mov bx, 0x1010
  mov al, [bx]
  inc al
  mov [bx], al
  hlt`;

it("real-mode-above-1m", "0xffff:0x1010 is the address 0x101000: the address line 20 is on", () => {
  using m = machine(realMode);
  equal(m.next(), "read byte 0x101000", "exit");
  m.answer(0x41);
  equal(m.trace(), ["write byte 0x101000: 0x42", "hlt"], "exits");
});

it(
  "pending-read-completes",
  "a read whose answer is in the exit is completed by the next KVM_RUN, also when that exits at once",
  () => {
    using m = machine(reads);
    equal(m.next(), "read byte 0xd0000000", "exit");
    m.answer(0x5a);
    m.run.immediateExit = 1;
    equal(m.next(), "-EINTR", "run");
    equal(m.vcpu.getRegs().rax, 0xaaaaaa5an, "EAX");
  },
  { source: "api.rst, KVM_EXIT_MMIO, immediate_exit" },
);

it("answer-not-kept", "the kernel takes the answer of its own read only: a write's data is not an answer", () => {
  using m = machine(modify);
  equal(m.next(), "read dword 0xd0000000", "exit");
  m.answer(1);
  equal(m.next(), "write dword 0xd0000000: 0x101", "exit");
  m.run.mmioData.fill(0xff);
  equal(m.next(), "hlt", "exit");
  equal(m.vcpu.getRegs().rbx, BigInt(MMIO), "EBX");
});
