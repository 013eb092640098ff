/** Memory that the host brings when the guest first touches it, and the guest's own page faults. */
import { GuestMemory } from "@tools-kvm/kvm-binding";
import { check, equal, needs } from "../expect.js";
import { asm32, asm64 } from "../guest/code.js";
import { machine, PAGE_TABLES } from "../guest/machine.js";
import { HANDLER, HANDLER_ORG } from "../guest/snippets.js";
import { themeOf } from "../registry.js";

const it = themeOf("paging", "api.rst, KVM_CAP_SYNC_MMU");
const PAGE = 4096;
const HIGH = 0x200000;
const PAGES = 64;

const walk = asm32`
1: mov ebx, ${HIGH}
  mov ecx, ${PAGES}
2: mov eax, [ebx]
  out 0x10, eax
  inc eax
  mov [ebx], eax
  add ebx, ${PAGE}
  loop 2b
  jmp 1b`;

it("zero-at-first", "memory that nobody has written reads as zeros, and keeps what the guest writes", () => {
  using m = machine(walk);
  using memory = GuestMemory.create({ sizeBytes: PAGES * PAGE });
  m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: HIGH, memory });
  for (const value of [0, 1, 2])
    equal(
      Array.from({ length: PAGES }, () => m.expectOut(0x10)),
      Array(PAGES).fill(value),
      `round ${value}`,
    );
});

it("discarded", "pages that user space takes away are zeros for the guest at its next access, and others stay", () => {
  needs("KVM_CAP_SYNC_MMU");
  using m = machine(walk);
  using memory = GuestMemory.create({ sizeBytes: PAGES * PAGE });
  m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: HIGH, memory });
  for (let i = 0; i < PAGES; i++) m.expectOut(0x10);
  memory.discard(16 * PAGE, 8 * PAGE);
  const second = Array.from({ length: PAGES }, () => m.expectOut(0x10));
  equal(
    second,
    Array.from({ length: PAGES }, (_, i) => (i >= 16 && i < 24 ? 0 : 1)),
    "the second round",
  );
});

it("sparse", "touching one page of a large slot costs no memory for the others", () => {
  using m = machine(one);
  using memory = GuestMemory.create({ sizeBytes: 2 ** 29 });
  m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0x40000000, memory });
  m.expectOut(0x10);
  equal(memory.bytes[2 ** 28], 7, "the page that was touched");
});

const one = asm32`
  mov byte ptr ds:[0x50000000], 7
  out 0x10, al
  hlt`;

/** Page 2 MiB is not mapped, or as the test says; the handler reports error code and CR2. */
const fault = asm64`
  mov rax, ${HIGH}
  mov bl, [rax + 8]
  out 0x10, al
  mov [rax + 8], bl
  out 0x11, al
  hlt
  ${HANDLER_ORG}
  pop rax
  out 0xe0, eax
  mov rax, cr2
  out 0xe1, eax
  hlt`;

const SECOND_ENTRY = PAGE_TABLES + 0x2000 + 8;

it(
  "fault-not-present",
  "a read of an address that is not mapped is #PF with error code 0 and the address in CR2",
  () => {
    using m = machine(fault, { handlers: { 14: HANDLER } });
    m.view.setBigUint64(SECOND_ENTRY, 0n, true);
    equal([m.expectOut(0xe0), m.expectOut(0xe1)], [0, HIGH + 8], "error code and CR2");
  },
  { source: "SDM, Page-Fault Exceptions" },
);

it(
  "fault-write-protected",
  "with CR0.WP a write to a read-only page is #PF with error code 3",
  () => {
    using m = machine(fault, { handlers: { 14: HANDLER } });
    const sregs = m.vcpu.getSregs();
    sregs.cr0 |= 0x10000n;
    m.vcpu.setSregs(sregs);
    m.view.setBigUint64(SECOND_ENTRY, 0x81n, true);
    m.expectOut(0x10, "the read");
    equal([m.expectOut(0xe0), m.expectOut(0xe1)], [3, HIGH + 8], "error code and CR2");
  },
  { source: "SDM, Page-Fault Exceptions" },
);

it(
  "fault-reserved-bit",
  "a page table entry with a reserved bit is #PF with bit 3 in its error code",
  () => {
    using m = machine(fault, { handlers: { 14: HANDLER } });
    m.view.setBigUint64(SECOND_ENTRY, 0x87n | (1n << 13n), true);
    equal(m.expectOut(0xe0) & 9, 9, "error code");
  },
  { source: "SDM, Page-Fault Exceptions" },
);

it(
  "accessed-dirty",
  "the processor sets accessed and dirty in the entry of a page that is written",
  () => {
    using m = machine(fault);
    m.view.setBigUint64(SECOND_ENTRY, 0x87n, true);
    m.expectOut(0x10);
    const afterRead = m.view.getBigUint64(SECOND_ENTRY, true);
    m.expectOut(0x11);
    equal(
      [(afterRead >> 5n) & 3n, (m.view.getBigUint64(SECOND_ENTRY, true) >> 5n) & 3n],
      [1n, 3n],
      "A and D after read and after write",
    );
  },
  { source: "SDM, Accessed and Dirty Flags" },
);

const remap = asm64`
  mov rax, ${HIGH}
1: mov bl, [rax]
  mov al, bl
  out 0x10, al
  mov rax, ${HIGH}
  invlpg [rax]
  jmp 1b`;

it(
  "invlpg",
  "after INVLPG the guest sees a page table entry that was changed",
  () => {
    using m = machine(remap);
    using memory = GuestMemory.create({ sizeBytes: 4 << 20 });
    memory.bytes[0] = 0x11;
    memory.bytes[2 << 20] = 0x22;
    m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: HIGH, memory });
    equal(m.expectOut(0x10), 0x11, "by the first entry");
    m.view.setBigUint64(SECOND_ENTRY, BigInt(2 * HIGH) | 0x87n, true);
    m.expectOut(0x10);
    equal(m.expectOut(0x10), 0x22, "by the second entry");
  },
  { source: "SDM, INVLPG" },
);

it(
  "high-address",
  "a guest reaches memory above 4 GiB through its page tables",
  () => {
    using m = machine(fault);
    using memory = GuestMemory.create({ sizeBytes: 2 << 20 });
    memory.bytes[8] = 0x5a;
    m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0x1_0000_0000n, memory });
    m.view.setBigUint64(SECOND_ENTRY, 0x1_0000_0087n, true);
    m.expectOut(0x10);
    equal(m.vcpu.getRegs().rbx & 0xffn, 0x5an, "BL");
    check(memory.bytes[8] === 0x5a, "memory");
  },
  { source: "api.rst, KVM_SET_USER_MEMORY_REGION" },
);
