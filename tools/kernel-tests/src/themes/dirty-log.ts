/** Which pages the guest has written: the bitmap, its manual clearing, and the ring. */

import * as b from "@tools-kvm/kvm-binding";
import { dirtyBitmapBytes, GuestMemory, type Vm } from "@tools-kvm/kvm-binding";
import { check, equal, needs, refuses } from "../expect.js";
import { asm32, asm64 } from "../guest/code.js";
import { type Machine, machine } from "../guest/machine.js";
import { themeOf } from "../registry.js";

const it = themeOf("dirty-log", "api.rst, KVM_GET_DIRTY_LOG");
const PAGE = 4096;
/** Slot 1 lies here, 128 pages of it, so that the code's own pages are not in the way. */
const LOGGED = 0x200000;
const LOGGED_PAGES = 128;

/** Writes pages 3 and 70 of the logged slot, then 3 again, with an exit behind each. */
const writer = asm32`
1: mov byte ptr ds:[${LOGGED + 3 * PAGE}], 1
  out 0x10, al
  mov byte ptr ds:[${LOGGED + 70 * PAGE}], 1
  out 0x10, al
  mov byte ptr ds:[${LOGGED + 3 * PAGE}], 2
  out 0x10, al
  jmp 1b`;

const reader = asm32`
1: mov al, ds:[${LOGGED + 3 * PAGE}]
  out 0x10, al
  jmp 1b`;

interface Logged extends Disposable {
  readonly m: Machine;
  readonly memory: GuestMemory;
  /** Pages of slot 1 whose bit is set, by KVM_GET_DIRTY_LOG. */
  dirty(): number[];
  setLogging(on: boolean): void;
}

/** native/guests/random-writer.c, which has these two numbers as well. */
const randomWriter = asm64`
  .incbin "random-writer.bin"`;
const WRITES = 24;
const ROUNDS = 20;

function logged(code: typeof writer, prepare: (vm: Vm) => void = () => {}): Logged {
  const m = machine(code, { prepare });
  const memory = GuestMemory.create({ sizeBytes: LOGGED_PAGES * PAGE });
  const setLogging = (logDirtyPages: boolean) =>
    m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: LOGGED, memory, logDirtyPages });
  setLogging(true);
  return {
    m,
    memory,
    setLogging,
    dirty: () => bits(m.vm.getDirtyLog(1, new Uint8Array(dirtyBitmapBytes(memory.sizeBytes)))),
    [Symbol.dispose]() {
      m[Symbol.dispose]();
      memory.close();
    },
  };
}

function bits(bitmap: Uint8Array): number[] {
  return Array.from({ length: bitmap.length * 8 }, (_, i) => i).filter((i) => (bitmap[i >> 3]! >> (i & 7)) & 1);
}

function bitmapOf(...pages: number[]): Uint8Array {
  const bitmap = new Uint8Array(LOGGED_PAGES / 8);
  for (const page of pages) bitmap[page >> 3]! |= 1 << (page & 7);
  return bitmap;
}

it("clean-at-first", "a slot that nobody wrote has an empty log", () => {
  using l = logged(reader);
  equal(l.dirty(), [], "pages");
});

it("exact", "exactly the written pages are in the log", () => {
  using l = logged(writer);
  l.m.expectOut(0x10);
  l.m.expectOut(0x10);
  equal(l.dirty(), [3, 70], "pages");
});

it("reads-are-clean", "reading a page that is already mapped does not make it dirty", () => {
  using l = logged(reader);
  l.m.expectOut(0x10);
  l.dirty(); // the first access may have mapped it for writing, and counts then
  l.m.expectOut(0x10);
  equal(l.dirty(), [], "pages");
});

it("cleared-by-reading", "reading the log clears it, and a page written again is in it again", () => {
  using l = logged(writer);
  l.m.expectOut(0x10);
  equal(l.dirty(), [3], "first");
  equal(l.dirty(), [], "at once afterwards");
  l.m.expectOut(0x10);
  equal(l.dirty(), [70], "after the second write");
  l.m.expectOut(0x10);
  equal(l.dirty(), [3], "after the third write");
});

it("user-space-writes", "writes by user space are not in the log", () => {
  using l = logged(reader);
  l.memory.bytes[5 * PAGE] = 1;
  equal(l.dirty(), [], "pages");
});

it("off", "a slot without the flag has no log: ENOENT", () => {
  using l = logged(writer);
  l.setLogging(false);
  refuses("ENOENT", () => l.dirty());
});

it("on-again", "switching logging off and on again starts with an empty log that works", () => {
  using l = logged(writer);
  l.m.expectOut(0x10);
  l.setLogging(false);
  l.m.expectOut(0x10);
  l.setLogging(true);
  equal(l.dirty(), [], "after switching on");
  l.m.expectOut(0x10);
  equal(l.dirty(), [3], "after a write");
});

it("late", "logging switched on while the guest runs sees writes to pages it has already written", () => {
  using l = logged(writer);
  l.setLogging(false);
  for (let i = 0; i < 3; i++) l.m.expectOut(0x10);
  l.setLogging(true);
  l.m.expectOut(0x10);
  equal(l.dirty(), [3], "pages");
});

it("large-pages", "logging is page by page, also where the host had mapped larger ones", () => {
  using m = machine(everyPage);
  using memory = GuestMemory.create({ sizeBytes: 4 << 20 });
  const set = (logDirtyPages: boolean) =>
    m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: LOGGED, memory, logDirtyPages });
  set(false);
  m.expectOut(0x10);
  set(true);
  m.expectOut(0x10);
  const log = bits(m.vm.getDirtyLog(1, new Uint8Array(dirtyBitmapBytes(memory.sizeBytes))));
  equal(
    log,
    Array.from({ length: 8 }, (_, i) => i * 128),
    "pages",
  );
});

const everyPage = asm32`
1: mov ebx, ${LOGGED}
  mov ecx, 8
2: mov [ebx], ecx
  add ebx, ${128 * PAGE}
  loop 2b
  out 0x10, al
  jmp 1b`;

it("string-write", "string writes over a page boundary make both pages dirty", () => {
  using l = logged(fill);
  l.m.expectOut(0x10);
  equal(l.dirty(), [9, 10], "pages");
});

const fill = asm32`
  mov edi, ${LOGGED + 10 * PAGE - 8}
  mov ecx, 4
  rep stosd
  out 0x10, al
  hlt`;

const manual = (flags: number) => (vm: Vm) => {
  const supported = needs("KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2", vm);
  if ((supported & flags) !== flags) needs("KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2", { checkExtension: () => 0 });
  vm.enableCap(b.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, flags);
};
const MANUAL = b.KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
const manualSource = { source: "api.rst, KVM_CLEAR_DIRTY_LOG" };

it(
  "manual-keeps",
  "with manual protection, reading the log does not clear it",
  () => {
    using l = logged(writer, manual(MANUAL));
    l.m.expectOut(0x10);
    equal([l.dirty(), l.dirty()], [[3], [3]], "two readings");
  },
  manualSource,
);

it(
  "manual-clears",
  "KVM_CLEAR_DIRTY_LOG clears the pages whose bit is given and no others",
  () => {
    using l = logged(writer, manual(MANUAL));
    l.m.expectOut(0x10);
    l.m.expectOut(0x10);
    l.m.vm.clearDirtyLog(1, 0, LOGGED_PAGES, bitmapOf(3));
    equal(l.dirty(), [70], "pages");
    l.m.vm.clearDirtyLog(1, 64, 64, bitmapOf(70).subarray(8));
    equal(l.dirty(), [], "pages after the second half was cleared");
  },
  manualSource,
);

it(
  "manual-seen-again",
  "a cleared page that is written again is dirty again",
  () => {
    using l = logged(writer, manual(MANUAL));
    l.m.expectOut(0x10);
    l.dirty();
    l.m.vm.clearDirtyLog(1, 0, LOGGED_PAGES, bitmapOf(3));
    l.m.expectOut(0x10);
    l.m.expectOut(0x10);
    equal(l.dirty(), [3, 70], "pages");
  },
  manualSource,
);

it(
  "manual-aligned",
  "the first page and the number of pages are multiples of 64, but for the slot's end: EINVAL",
  () => {
    using l = logged(writer, manual(MANUAL));
    refuses("EINVAL", () => l.m.vm.clearDirtyLog(1, 1, 64, bitmapOf()));
    refuses("EINVAL", () => l.m.vm.clearDirtyLog(1, 0, 65, new Uint8Array(16)));
    refuses("EINVAL", () => l.m.vm.clearDirtyLog(1, 64, 128, new Uint8Array(24)));
  },
  manualSource,
);

it(
  "manual-needed",
  "KVM_CLEAR_DIRTY_LOG works without manual protection too, for what was not read yet",
  () => {
    needs("KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2");
    using l = logged(writer);
    l.m.expectOut(0x10);
    l.m.vm.clearDirtyLog(1, 0, LOGGED_PAGES, bitmapOf(3));
    equal(l.dirty(), [], "pages");
  },
  manualSource,
);

it(
  "initially-set",
  "with KVM_DIRTY_LOG_INITIALLY_SET every page of a new log is dirty until it is cleared",
  () => {
    using l = logged(writer, manual(MANUAL | b.KVM_DIRTY_LOG_INITIALLY_SET));
    equal(l.dirty().length, LOGGED_PAGES, "dirty pages");
    l.m.vm.clearDirtyLog(1, 0, LOGGED_PAGES, new Uint8Array(16).fill(0xff));
    equal(l.dirty(), [], "after clearing all");
    l.m.expectOut(0x10);
    equal(l.dirty(), [3], "after a write");
  },
  manualSource,
);

it(
  "manual-flags-checked",
  "INITIALLY_SET without manual protection is EINVAL",
  () => {
    using kvm = b.Kvm.open();
    using vm = kvm.createVm();
    needs("KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2", vm);
    refuses("EINVAL", () => vm.enableCap(b.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, b.KVM_DIRTY_LOG_INITIALLY_SET));
    refuses("EINVAL", () => vm.enableCap(b.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 0x80));
  },
  { source: "api.rst, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2" },
);

const RING_BYTES = 65536;
const ring = (vm: Vm) => {
  needs("KVM_CAP_DIRTY_LOG_RING_ACQ_REL", vm);
  vm.enableCap(b.KVM_CAP_DIRTY_LOG_RING_ACQ_REL, RING_BYTES);
};
const ringSource = { source: "api.rst, KVM_CAP_DIRTY_LOG_RING" };

function taken(m: Machine): [number, number][] {
  const into = new Float64Array(8192);
  const count = m.vcpu.drainDirtyRing(into);
  return Array.from({ length: count }, (_, i) => [into[2 * i]!, into[2 * i + 1]!]);
}

it(
  "ring",
  "the ring has slot and page of each first write",
  () => {
    using l = logged(writer, ring);
    l.m.expectOut(0x10);
    l.m.expectOut(0x10);
    equal(
      taken(l.m),
      [
        [1, 3],
        [1, 70],
      ],
      "entries",
    );
  },
  ringSource,
);

it(
  "ring-complete",
  "every written page has an entry, and every entry is a page that was written",
  () => {
    using l = logged(writer, ring);
    for (let i = 0; i < 9; i++) l.m.expectOut(0x10);
    equal([...new Set(taken(l.m).map(([slot, page]) => `${slot}:${page}`))].sort(), ["1:3", "1:70"], "slots and pages");
  },
  ringSource,
);

it(
  "ring-reset",
  "KVM_RESET_DIRTY_RINGS gives the number of entries, and their pages are watched again",
  () => {
    using l = logged(writer, ring);
    for (let i = 0; i < 3; i++) l.m.expectOut(0x10);
    equal(l.m.vm.resetDirtyRings(), 0, "entries reset before any was taken");
    const entries = taken(l.m).length;
    equal(l.m.vm.resetDirtyRings(), entries, "entries reset");
    equal(l.m.vm.resetDirtyRings(), 0, "entries reset the second time");
    l.m.expectOut(0x10);
    equal(taken(l.m), [[1, 3]], "entries after another write");
  },
  ringSource,
);

it(
  "ring-full",
  "a full ring is an exit of its own, and the guest goes on after the reset",
  () => {
    using m = machine(flood, {
      prepare: (vm) => {
        needs("KVM_CAP_DIRTY_LOG_RING_ACQ_REL", vm);
        vm.enableCap(b.KVM_CAP_DIRTY_LOG_RING_ACQ_REL, RING_BYTES);
      },
    });
    const entries = RING_BYTES / 16;
    using memory = GuestMemory.create({ sizeBytes: 2 * entries * PAGE });
    m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: LOGGED, memory, logDirtyPages: true });
    const pages = new Set<number>();
    let full = 0;
    let exit = m.next();
    for (; exit === "dirty ring full"; exit = m.next()) {
      full++;
      for (const [, page] of taken(m)) pages.add(page);
      m.vm.resetDirtyRings();
    }
    equal(exit, "hlt", "the last exit");
    for (let some = taken(m); some.length > 0; some = taken(m)) for (const [, page] of some) pages.add(page);
    check(full > 0, "the ring was never full");
    equal(pages.size, 2 * entries, "pages seen");
  },
  ringSource,
);

const flood = asm32`
  mov ebx, ${LOGGED}
  mov ecx, ${2 * (RING_BYTES / 16)}
1: mov [ebx], ecx
  add ebx, ${PAGE}
  loop 1b
  hlt`;

it(
  "ring-excludes-bitmap",
  "with a ring and without the bitmap beside it, KVM_GET_DIRTY_LOG is ENXIO",
  () => {
    using l = logged(writer, ring);
    refuses("ENXIO", () => l.dirty());
  },
  ringSource,
);

it(
  "ring-size",
  "the ring's size is a power of two, a page at least and at most what the capability says",
  () => {
    using kvm = b.Kvm.open();
    using vm = kvm.createVm();
    const max = needs("KVM_CAP_DIRTY_LOG_RING_ACQ_REL", vm);
    for (const bytes of [0, PAGE / 2, PAGE * 3])
      refuses("EINVAL", () => vm.enableCap(b.KVM_CAP_DIRTY_LOG_RING_ACQ_REL, bytes));
    refuses("E2BIG", () => vm.enableCap(b.KVM_CAP_DIRTY_LOG_RING_ACQ_REL, max * 2));
  },
  ringSource,
);

it(
  "ring-before-vcpus",
  "the ring is switched on before the first vCPU: EINVAL afterwards",
  () => {
    using kvm = b.Kvm.open();
    using vm = kvm.createVm();
    needs("KVM_CAP_DIRTY_LOG_RING_ACQ_REL", vm);
    using _vcpu = vm.createVcpu(0);
    refuses("EINVAL", () => vm.enableCap(b.KVM_CAP_DIRTY_LOG_RING_ACQ_REL, RING_BYTES));
  },
  ringSource,
);

it(
  "memory-size",
  "a slot whose pages are no multiple of 64 has a log of whole words with no bits behind the end",
  () => {
    using m = machine(writer);
    using memory = GuestMemory.create({ sizeBytes: 71 * PAGE });
    m.vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: LOGGED, memory, logDirtyPages: true });
    m.expectOut(0x10);
    m.expectOut(0x10);
    equal(bits(m.vm.getDirtyLog(1, new Uint8Array(16))), [3, 70], "pages");
  },
);

it("random-pages", "round after round the log has every page that a program in C has written, and no other", () => {
  using l = logged(randomWriter);
  const words = new Uint32Array(l.memory.bytes.buffer, l.memory.bytes.byteOffset, (LOGGED_PAGES * PAGE) / 4);
  let state = 1;
  for (let round = 0; round < ROUNDS; round++) {
    equal(l.m.expectOut(0x10), round, "the round");
    const written = new Set<number>();
    let last = 0;
    for (let i = 0; i < WRITES; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const page = (state >>> 16) % LOGGED_PAGES;
      written.add(page);
      last = page * PAGE + ((state >>> 4) & 0xffc);
    }
    equal(
      l.dirty(),
      [...written].sort((a, b) => a - b),
      `pages of round ${round}`,
    );
    equal(words[last / 4], state, "the last word");
  }
});
