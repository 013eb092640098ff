/**
 * Makes and drops handles of every kind by the hundred, closing none, and counts what this process still has open after the garbage collector
 * has been through. Prints one JSON line: { kind: descriptors left over } and the mappings left over.
 *
 *   node --expose-gc test/leak-child.mjs ROUNDS
 */
import { readdirSync, readFileSync } from "node:fs";
import * as b from "../dist/index.js";

const rounds = Number(process.argv[2]);
const AT_ONCE = 50;

const descriptors = () => readdirSync("/proc/self/fd").length;
const mappings = () =>
  readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => /memfd:|kvm-vcpu|perf_event/.test(line)).length;

async function collect() {
  for (let i = 0; i < 6; i++) {
    globalThis.gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const attempt = (make) => {
  try {
    return make();
  } catch {
    return undefined;
  }
};
const kvm = attempt(() => b.Kvm.open());
const vm = attempt(() => kvm.createVm());
const ram = b.GuestMemory.create({ sizeBytes: 4096 });

const makers = {
  eventfd: () => b.EventFd.create().signal(),
  shared: () => b.EventFd.attach(b.EventFd.create().share()),
  memory: () => b.GuestMemory.create({ sizeBytes: 1 << 20 }).bytes.fill(1, 0, 4096),
  attachedMemory: () => b.GuestMemory.attach(ram.share()),
  ledger: () => b.ExitLedger.create({ machineName: "m", vcpuIds: [0] }),
  poller: () => new b.Poller().wait(0),
  sockets: () => b.UnixSocket.pair()[0].send(new Uint8Array(1), [ram]), // a descriptor in flight too
  watch: () => b.watch(b.EventFd.create(), () => {}).close(),
  failedAdoption: () => attempt(() => b.EventFd.adopt(ram.fd)),
  failedStats: () => attempt(() => b.StatsFd.take(process.pid, ram.fd)),
  failedLedger: () => attempt(() => b.ExitLedger.open(`/proc/self/fd/${ram.fd}`)),
};
if (attempt(() => b.PerfEvent.open({ type: 1, config: 9 }, { pid: 0, cpu: -1 }).close() ?? true)) {
  makers.perf = () => b.PerfEvent.open({ type: 1, config: 9 }, { pid: 0, cpu: -1 }).mapRing(1).drain(new Uint8Array(8));
}
if (vm !== undefined) {
  makers.vm = () => kvm.createVm();
  makers.guest = () => {
    const machine = kvm.createVm();
    machine.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: b.GuestMemory.create({ sizeBytes: 0x10000 }) });
    const vcpu = machine.createVcpu(0);
    vcpu.kick();
    vcpu.run();
    return [vcpu.runPage, vcpu.getStatsFd()];
  };
}

await collect();
const left = {};
for (const [kind, make] of Object.entries(makers)) {
  // Once first, so that what is made once for good does not count.
  make();
  await collect();
  const before = descriptors();
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < AT_ONCE; i++) make();
    await collect();
  }
  left[kind] = descriptors() - before;
}
// Views keep the memory they look at, even when the GuestMemory they came from is gone.
const views = Array.from({ length: 20 }, () => b.GuestMemory.create({ sizeBytes: 4096 }).bytes.fill(7));
await collect();
left.viewsEmptied = views.filter((view) => view[4095] !== 7).length;
views.length = 0;
await collect();
left.mappings = Math.max(0, mappings() - 4); // `ram` twice, and what one live VM may have
console.log(JSON.stringify(left));
