/** Memory slots: what the guest finds where, and what is refused. */

import * as b from "@tools-kvm/kvm-binding";
import { GuestMemory, type UserMemoryRegion, type Vm } from "@tools-kvm/kvm-binding";
import { check, equal, needs, refuses } from "../expect.js";
import { asm32 } from "../guest/code.js";
import { MEMORY_BYTES, machine } from "../guest/machine.js";
import { themeOf } from "../registry.js";

const it = themeOf("memory-slots", "api.rst, KVM_SET_USER_MEMORY_REGION");
const PAGE = 4096;

function withVm(body: (vm: Vm, memory: GuestMemory) => void): void {
  using kvm = b.Kvm.open();
  using vm = kvm.createVm();
  using memory = GuestMemory.create({ sizeBytes: 16 * PAGE });
  body(vm, memory);
}

/** Reads the byte at 2 MiB for ever, and writes it to port 0x10. */
const watch = asm32`
1: mov al, ds:[0x200000]
  out 0x10, al
  jmp 1b`;

const HIGH = 0x200000;

it("add", "memory that is added while the vCPU exists is there when it runs on", () => {
  using m = machine(watch);
  using more = GuestMemory.create({ sizeBytes: PAGE });
  more.bytes[0] = 0x42;
  equal(m.next(), "read byte 0x200000", "without the slot");
  m.answer(1);
  equal(m.expectOut(0x10), 1, "the answer");
  m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: HIGH, memory: more });
  equal(m.expectOut(0x10), 0x42, "with the slot");
});

it("delete", "a deleted slot's addresses are MMIO again, also when the guest had used them", () => {
  using m = machine(watch);
  using more = GuestMemory.create({ sizeBytes: PAGE });
  more.bytes[0] = 0x42;
  m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: HIGH, memory: more });
  equal(m.expectOut(0x10), 0x42, "with the slot");
  m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: HIGH, memory: null });
  equal(m.next(), "read byte 0x200000", "without the slot");
});

it("move", "a slot that is set again at another address is there, and no longer where it was", () => {
  using m = machine(watch);
  using more = GuestMemory.create({ sizeBytes: PAGE });
  more.bytes[0] = 0x42;
  m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: HIGH + PAGE, memory: more });
  equal(m.next(), "read byte 0x200000", "before the move");
  m.answer(0);
  m.expectOut(0x10);
  m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: HIGH, memory: more });
  equal(m.expectOut(0x10), 0x42, "after the move");
  m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: HIGH + PAGE, memory: more });
  equal(m.next(), "read byte 0x200000", "after the move back");
});

it("replace", "deleting a slot and adding other memory at its address shows the other memory", () => {
  using m = machine(watch);
  using first = GuestMemory.create({ sizeBytes: PAGE });
  using second = GuestMemory.create({ sizeBytes: PAGE });
  first.bytes[0] = 1;
  second.bytes[0] = 2;
  for (let i = 0; i < 20; i++) {
    for (const [memory, value] of [
      [first, 1],
      [second, 2],
    ] as const) {
      m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: HIGH, memory });
      equal(m.expectOut(0x10), value, `round ${i}`);
      m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: HIGH, memory: null });
    }
  }
});

it("alias", "the same memory in two slots is the same bytes at two addresses", () => {
  using m = machine(watch);
  m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: HIGH, memory: m.memory, offsetBytes: 0x5000, sizeBytes: PAGE });
  m.memory.bytes[0x5000] = 0x33;
  equal(m.expectOut(0x10), 0x33, "by the second address");
});

it("offset", "a slot may begin anywhere in its memory", () => {
  using m = machine(watch);
  using more = GuestMemory.create({ sizeBytes: 4 * PAGE });
  more.bytes[3 * PAGE] = 0x99;
  m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: HIGH, memory: more, offsetBytes: 3 * PAGE });
  equal(m.expectOut(0x10), 0x99, "the byte");
});

it(
  "change-seen",
  "what user space writes into memory while the guest is out, the guest sees, and what the guest writes is seen here",
  () => {
    using m = machine(increment);
    for (let i = 0; i < 5; i++) {
      m.memory.bytes[0x5000] = i * 10;
      equal(m.expectOut(0x10), i * 10 + 1, "what the guest made of it");
      equal(m.memory.bytes[0x5000], i * 10 + 1, "what is in memory");
    }
  },
);

const increment = asm32`
1: inc byte ptr ds:[0x5000]
  mov al, ds:[0x5000]
  out 0x10, al
  jmp 1b`;

for (const [name, promise, change] of [
  ["address-unaligned", "an address within a page is EINVAL", { guestPhysAddr: 1 }],
  ["size-unaligned", "a size that is not whole pages is EINVAL", { sizeBytes: PAGE + 1 }],
  ["wraps-around", "a range that wraps around is EINVAL", { guestPhysAddr: 0xfffffffffffff000n }],
] as [string, string, Partial<UserMemoryRegion>][]) {
  it(name, promise, () =>
    withVm((vm, memory) =>
      refuses("EINVAL", () => vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory, ...change })),
    ),
  );
}

it("overlap", "slots never overlap: EEXIST at both ends, inside and around", () =>
  withVm((vm, memory) => {
    const set = (slot: number, page: number, pages: number) =>
      vm.setUserMemoryRegion({ slot, guestPhysAddr: page * PAGE, memory, sizeBytes: pages * PAGE });
    set(0, 10, 4);
    for (const [page, pages] of [
      [9, 2],
      [13, 1],
      [11, 2],
      [8, 8],
      [10, 4],
    ] as const)
      refuses("EEXIST", () => set(1, page, pages));
    set(1, 14, 1);
    set(2, 9, 1);
  }),
);

it("overlap-by-move", "a move onto another slot is EEXIST and leaves the slot where it was", () =>
  withVm((vm, memory) => {
    const set = (slot: number, page: number) =>
      vm.setUserMemoryRegion({ slot, guestPhysAddr: page * PAGE, memory, sizeBytes: PAGE });
    set(0, 10);
    set(1, 20);
    refuses("EEXIST", () => set(1, 10));
    refuses("EEXIST", () => set(2, 20));
    set(1, 11);
  }),
);

it("resize", "a slot's size cannot change in place: EINVAL", () =>
  withVm((vm, memory) => {
    vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory });
    refuses("EINVAL", () => vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory, sizeBytes: PAGE }));
  }),
);

it("host-address-fixed", "a slot's memory cannot change in place: EINVAL", () =>
  withVm((vm, memory) => {
    vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory, sizeBytes: PAGE });
    refuses("EINVAL", () =>
      vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory, offsetBytes: PAGE, sizeBytes: PAGE }),
    );
  }),
);

it("readonly-fixed", "a slot's read-only flag cannot change in place: EINVAL", () =>
  withVm((vm, memory) => {
    needs("KVM_CAP_READONLY_MEM", vm);
    vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory });
    refuses("EINVAL", () => vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory, readonly: true }));
  }),
);

it("delete-absent", "deleting a slot that was never set is EINVAL", () =>
  withVm((vm) => refuses("EINVAL", () => vm.setUserMemoryRegion({ slot: 5, guestPhysAddr: 0, memory: null }))),
);

it("slot-limit", "the last slot is KVM_CAP_NR_MEMSLOTS - 1, and the next is EINVAL", () =>
  withVm((vm, memory) => {
    const slots = vm.checkExtension(b.KVM_CAP_NR_MEMSLOTS);
    vm.setUserMemoryRegion({ slot: slots - 1, guestPhysAddr: 0, memory });
    refuses("EINVAL", () => vm.setUserMemoryRegion({ slot: slots, guestPhysAddr: 0x100000, memory }));
  }),
);

it("many-slots", "256 slots of a page each, then every second deleted, leave the other half as it was", () => {
  using m = machine(walk);
  using pages = GuestMemory.create({ sizeBytes: 256 * PAGE });
  for (let i = 0; i < 256; i++) {
    pages.bytes[i * PAGE] = i;
    m.vm.setUserMemoryRegion({
      slot: 1 + i,
      guestPhysAddr: HIGH + i * PAGE,
      memory: pages,
      offsetBytes: i * PAGE,
      sizeBytes: PAGE,
    });
  }
  for (let i = 0; i < 256; i += 2) m.vm.setUserMemoryRegion({ slot: 1 + i, guestPhysAddr: 0, memory: null });
  for (let i = 0; i < 256; i++) {
    if (i % 2 === 0) {
      equal(m.next(), `read byte 0x${(HIGH + i * PAGE).toString(16)}`, "exit");
      m.answer(0xee);
    }
    equal(m.expectOut(0x10), i % 2 === 0 ? 0xee : i, `page ${i}`);
  }
});

const walk = asm32`
  mov ebx, 0x200000
1: mov al, [ebx]
  out 0x10, al
  add ebx, 0x1000
  jmp 1b`;

const writeThenRead = asm32`
  mov byte ptr ds:[0x200000], 0x77
  mov al, ds:[0x200000]
  out 0x10, al
  hlt`;

it("readonly", "a write to a read-only slot is an MMIO exit and changes nothing; a read makes no exit", () => {
  needs("KVM_CAP_READONLY_MEM");
  using m = machine(writeThenRead);
  using rom = GuestMemory.create({ sizeBytes: PAGE });
  rom.bytes[0] = 0x42;
  m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: HIGH, memory: rom, readonly: true });
  equal(m.trace(), ["write byte 0x200000: 0x77", "out byte 0x10: 0x42", "hlt"], "exits");
  equal(rom.bytes[0], 0x42, "the byte");
});

const lockedAdd = asm32`
  lock add dword ptr ds:[0x200000], 2
  hlt`;

it("readonly-locked", "a locked read-modify-write of a read-only slot never changes it", () => {
  needs("KVM_CAP_READONLY_MEM");
  using m = machine(lockedAdd);
  using rom = GuestMemory.create({ sizeBytes: PAGE });
  rom.bytes[0] = 0x40;
  m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: HIGH, memory: rom, readonly: true });
  const exits = m.trace();
  check(exits[0] === "write dword 0x200000: 0x42", `expected the sum as an MMIO write, got ${exits.join("; ")}`);
  equal(rom.bytes[0], 0x40, "the byte");
});

it("memory-closed", "a slot keeps its memory when user space has closed it", () => {
  using m = machine(increment);
  m.memory.bytes[0x5000] = 4;
  m.memory.close();
  equal(m.expectOut(0x10), 5, "what the guest computed");
});

it("shared-by-two-vms", "two VMs over the same memory see each other's writes", () => {
  using one = machine(increment);
  using two = machine(increment, { slot0: { memory: one.memory } });
  equal(one.expectOut(0x10), 1, "the first VM");
  equal(two.expectOut(0x10), 2, "the second VM");
  equal(one.expectOut(0x10), 3, "the first VM again");
});

it("last-page", "the slot's last byte is memory, the next is not", () => {
  using m = machine(lastByte);
  m.memory.bytes[MEMORY_BYTES - 1] = 0x11;
  equal(m.trace(), ["out byte 0x10: 0x11", "read byte 0x100000", "out byte 0x10: 0x0", "hlt"], "exits");
});

const lastByte = asm32`
  mov al, ds:[${MEMORY_BYTES - 1}]
  out 0x10, al
  mov al, ds:[${MEMORY_BYTES}]
  out 0x10, al
  hlt`;
