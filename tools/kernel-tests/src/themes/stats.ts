/** KVM's binary statistics: the file's layout, and that the counters count. */
import { readSync, writeSync } from "node:fs";
import * as b from "@tools-kvm/kvm-binding";
import { check, equal, fail, needs } from "../expect.js";
import { asm16, asm32 } from "../guest/code.js";
import { type Machine, MMIO, machine } from "../guest/machine.js";
import { kicker } from "../kicker.js";
import { themeOf } from "../registry.js";

const it = themeOf("stats", "api.rst, KVM_GET_STATS_FD");

const pioLoad = asm16`
  mov cx, 100
1: out 0x10, al
  loop 1b
  hlt`;

const mmioLoad = asm32`
  mov ebx, ${MMIO}
  mov ecx, 50
1: mov [ebx], al
  loop 1b
  hlt`;

/** How much each counter of the vCPU rose while the machine ran to its HLT. */
function rise(m: Machine): (name: string) => number | undefined {
  using stats = m.vcpu.getStatsFd();
  stats.read();
  const before = stats.values.slice();
  m.trace();
  stats.read();
  const rises = new Map(
    stats.descriptors.map(({ name, index }) => [name, Number(stats.values[index]! - before[index]!)]),
  );
  return (name) => rises.get(name);
}

function withStats(body: (m: Machine, vm: b.StatsFd, vcpu: b.StatsFd) => void): void {
  using m = machine(pioLoad);
  needs("KVM_CAP_BINARY_STATS_FD", m.vm);
  using vm = m.vm.getStatsFd();
  using vcpu = m.vcpu.getStatsFd();
  body(m, vm, vcpu);
}

it("ids", "the files name their owner: kvm-PID, and the vCPU's id behind it", () =>
  withStats((_m, vm, vcpu) => {
    equal([vm.id, vcpu.id], [`kvm-${process.pid}`, `kvm-${process.pid}/vcpu-0`], "ids");
  }),
);

it("layout", "the header says where id, descriptors and values lie: behind each other, none over the other", () =>
  withStats((_m, vm, vcpu) => {
    for (const { fd } of [vm, vcpu]) {
      const bytes = new Uint8Array(b.StatsHeader.sizeBytes);
      equal(readSync(fd, bytes, 0, bytes.length, 0), bytes.length, "bytes of the header");
      const { flags, nameSize, numDesc, idOffset, descOffset, dataOffset } = new b.StatsHeader(bytes);
      equal([flags, nameSize], [0, 48], "flags and name size");
      check(idOffset >= bytes.length, "the id lies in the header");
      check(descOffset >= idOffset + nameSize, "the descriptors lie in the id");
      check(
        dataOffset >= descOffset + numDesc * (b.StatsDesc.sizeBytes + nameSize),
        "the values lie in the descriptors",
      );
    }
  }),
);

it("read-anywhere", "a read of a few bytes in the middle gives what a read of everything has there", () =>
  withStats((_m, vm) => {
    const [whole, part] = [new Uint8Array(200), new Uint8Array(7)];
    readSync(vm.fd, whole, 0, whole.length, 0);
    equal(readSync(vm.fd, part, 0, part.length, 33), part.length, "bytes read");
    equal([...part], [...whole.subarray(33, 40)], "bytes");
    equal(readSync(vm.fd, part, 0, part.length, 1 << 24), 0, "bytes read behind the end");
  }),
);

it("read-only", "the file cannot be written", () =>
  withStats((_m, vm) => {
    try {
      writeSync(vm.fd, new Uint8Array(8));
    } catch {
      return;
    }
    fail("a write succeeded");
  }),
);

it("names", "every counter has a name of its own, of printable characters without a space", () =>
  withStats((_m, vm, vcpu) => {
    for (const { descriptors } of [vm, vcpu]) {
      equal(new Set(descriptors.map(({ name }) => name)).size, descriptors.length, "different names");
      equal(
        descriptors.filter(({ name }) => !/^[!-~]+$/.test(name)).map(({ name }) => name),
        [],
        "names",
      );
    }
  }),
);

it("values-apart", "no two counters share a value, and all values lie in the data block", () =>
  withStats((_m, vm, vcpu) => {
    for (const { descriptors } of [vm, vcpu]) {
      const taken = descriptors.flatMap(({ index, count }) => Array.from({ length: count }, (_, i) => index + i));
      equal(new Set(taken).size, taken.length, "different places");
    }
  }),
);

it("histograms", "only histograms have buckets: a linear one with a width, a logarithmic one with several values", () =>
  withStats((_m, vm, vcpu) => {
    for (const { name, type, count, bucketSize } of [...vm.descriptors, ...vcpu.descriptors]) {
      if (type === "linear histogram") check(bucketSize > 0 && count > 1, `${name}: ${count} buckets of ${bucketSize}`);
      else if (type === "log histogram") check(count > 1, `${name}: ${count} buckets`);
      else equal(count, 1, name);
    }
  }),
);

it("expected-counters", "the counters that tools rely on are there", () =>
  withStats((_m, _vm, vcpu) => {
    const wanted = [
      "exits",
      "io_exits",
      "mmio_exits",
      "signal_exits",
      "halt_exits",
      "irq_injections",
      "insn_emulation",
    ];
    equal(
      wanted.filter((name) => vcpu.descriptor(name) === undefined),
      [],
      "missing",
    );
  }),
);

it("monotonic", "no cumulative counter ever goes down", () =>
  withStats((m, _vm, vcpu) => {
    let before = vcpu.read().slice();
    for (let i = 0; i < 20; i++) {
      m.next();
      const now = vcpu.read().slice();
      const fallen = vcpu.descriptors.filter(
        ({ type, index }) => type === "cumulative" && now[index]! < before[index]!,
      );
      equal(
        fallen.map(({ name }) => name),
        [],
        "counters that fell",
      );
      before = now;
    }
  }),
);

it("io-exits", "io_exits counts each of a hundred port writes once", () => {
  using m = machine(pioLoad);
  needs("KVM_CAP_BINARY_STATS_FD", m.vm);
  equal(rise(m)("io_exits"), 100, "io_exits");
});

it("mmio-exits", "mmio_exits counts each of fifty MMIO writes once", () => {
  using m = machine(mmioLoad);
  needs("KVM_CAP_BINARY_STATS_FD", m.vm);
  equal(rise(m)("mmio_exits"), 50, "mmio_exits");
});

it("exits-at-least", "exits is at least the number of exits that user space saw", () => {
  using m = machine(pioLoad);
  needs("KVM_CAP_BINARY_STATS_FD", m.vm);
  const exits = rise(m)("exits") ?? 0;
  check(exits >= 101, `${exits} exits`);
});

it("halts", "halt_exits counts the HLT of a guest with an in-kernel APIC", async () => {
  using m = machine(oneHalt, { prepare: (vm) => vm.createIrqchip() });
  needs("KVM_CAP_BINARY_STATS_FD", m.vm);
  using stats = m.vcpu.getStatsFd();
  stats.read();
  const before = stats.value("halt_exits")!;
  m.expectOut(0x70);
  using _kicks = await kicker(m.vcpu);
  while (m.vcpu.getMpState() !== b.KVM_MP_STATE_HALTED) equal(m.next(), "-EINTR", "run");
  stats.read();
  check(stats.value("halt_exits")! > before, "halt_exits did not rise");
});

const oneHalt = asm16`
  out 0x70, al
1: hlt
  jmp 1b
  .org 0x800
  out 0x77, al
  iret`;

it("instance-of-its-own", "one vCPU's load moves no other vCPU's counters", () =>
  withStats((m, _vm, vcpu) => {
    using second = m.vm.createVcpu(1);
    using others = second.getStatsFd();
    others.read();
    const before = others.value("exits");
    m.trace();
    others.read();
    vcpu.read();
    check(vcpu.value("exits")! > 0, "the first vCPU's exits did not rise");
    equal(others.value("exits"), before, "the second vCPU's exits");
  }),
);

it("after-close", "the file stays readable when VM and vCPU have been closed, and its counters stand still", () => {
  const m = machine(pioLoad);
  needs("KVM_CAP_BINARY_STATS_FD", m.vm);
  using stats = m.vcpu.getStatsFd();
  m.next();
  m[Symbol.dispose]();
  const first = stats.read().slice();
  equal([...stats.read()], [...first], "values");
});
