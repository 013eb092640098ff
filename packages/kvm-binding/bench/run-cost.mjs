#!/usr/bin/env node
/**
 * What run() adds to a bare KVM_RUN, and what the exit ledger adds to run(). Medians of interleaved runs.
 *
 *   node packages/kvm-binding/bench/run-cost.mjs [--json] [--quick]
 *
 * "immediate" goes in and out of KVM_RUN without entering the guest: the ioctl is short and steady there, so that nanoseconds show.
 * "pio" is a whole exit of a real-mode guest. "ledger" is the accounting alone, in C++, with nothing around it: on a host whose exits
 * take microseconds the difference of the two columns is mostly noise.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as b from "../dist/index.js";

const json = process.argv.includes("--json");
const quick = process.argv.includes("--quick");
const rounds = quick ? 5 : 15;
const counts = { immediate: quick ? 100_000 : 400_000, pio: quick ? 20_000 : 60_000 };

const folder = mkdtempSync(join(tmpdir(), "run-cost-"));
const loop = join(folder, "run-loop");
execFileSync(process.env.CC ?? "cc", ["-O2", "-o", loop, fileURLToPath(new URL("run-loop.c", import.meta.url))]);

const accounting = join(folder, "ledger-cost");
const native = fileURLToPath(new URL("../native/clock.cc", import.meta.url));
const cost = fileURLToPath(new URL("ledger-cost.cc", import.meta.url));
execFileSync(process.env.CXX ?? "c++", ["-std=gnu++20", "-O2", "-o", accounting, cost, native]);

function machine() {
  const kvm = b.Kvm.open();
  const vm = kvm.createVm();
  const memory = b.GuestMemory.create({ sizeBytes: 0x100000 });
  memory.bytes.set([0xe6, 0x10, 0xeb, 0xfc], 0x1000);
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory });
  const vcpu = vm.createVcpu(0);
  const sregs = vcpu.getSregs();
  sregs.cs.assign({ base: 0, selector: 0 });
  vcpu.setSregs(sregs);
  vcpu.setRegs({ rip: 0x1000, rflags: 2 });
  return vcpu;
}

// One function a case, so that each is compiled for itself.
function plain(vcpu, u8, u16, u32, immediate, count) {
  let sum = 0;
  const start = b.monotonicNs();
  for (let i = 0; i < count; i++) {
    u8[b.RUN_IMMEDIATE_EXIT] = immediate;
    if (vcpu.run() >= 0) sum += u16[b.RUN_IO_PORT >> 1] + u8[u32[b.RUN_IO_DATA_OFFSET >> 2]];
  }
  return [(b.monotonicNs() - start) / count, sum];
}

function accounted(vcpu, u8, u16, u32, immediate, count, slot) {
  let sum = 0;
  const start = b.monotonicNs();
  for (let i = 0; i < count; i++) {
    u8[b.RUN_IMMEDIATE_EXIT] = immediate;
    if (vcpu.run() >= 0) sum += u16[b.RUN_IO_PORT >> 1] + u8[u32[b.RUN_IO_DATA_OFFSET >> 2]];
    slot[0] = 64;
  }
  return [(b.monotonicNs() - start) / count, sum];
}

const without = machine();
const withLedger = machine();
const ledger = b.ExitLedger.create({
  machineName: "run-cost",
  vcpuIds: [0],
  slots: [{ reason: b.KVM_EXIT_IO, direction: 2, detail: 0x10, device: "port" }],
});
withLedger.useLedger(ledger, 0);
const slot = ledger.currentSlot(0);
const views = (vcpu) => [new Uint8Array(vcpu.runPage), new Uint16Array(vcpu.runPage), new Uint32Array(vcpu.runPage)];
const [viewsWithout, viewsWith] = [views(without), views(withLedger)];

const median = (values) => values.toSorted((a, c) => a - c)[values.length >> 1];
const results = [];
for (const kind of ["immediate", "pio"]) {
  const immediate = kind === "immediate" ? 1 : 0;
  const times = { c: [], run: [], ledger: [] };
  for (let round = -1; round < rounds; round++) {
    const c = Number(execFileSync(loop, [kind, String(counts[kind])], { encoding: "utf8" }));
    const [run] = plain(without, ...viewsWithout, immediate, counts[kind]);
    const [account] = accounted(withLedger, ...viewsWith, immediate, counts[kind], slot);
    if (round < 0) continue; // the compiler has not settled yet
    times.c.push(c);
    times.run.push(run);
    times.ledger.push(account);
  }
  results.push({ kind, cNs: median(times.c), runNs: median(times.run), ledgerNs: median(times.ledger) });
}
const accountings = Array.from({ length: 3 }, () => execFileSync(accounting, { encoding: "utf8" }).trim().split(" "));
const [accountNs, clockNs] = [0, 1].map((column) => median(accountings.map((row) => Number(row[column]))));
const clock = accountings[0][2];
rmSync(folder, { recursive: true });

for (const { kind, cNs, runNs, ledgerNs } of results) {
  const row = {
    bench: "run-cost",
    case: kind,
    unit: "ns",
    ours: ledgerNs,
    peer: cNs,
    ratio: cNs / ledgerNs,
    runs: rounds,
  };
  if (json) console.log(JSON.stringify(row));
  else {
    console.log(
      `${kind.padEnd(10)} C loop ${cNs.toFixed(0).padStart(6)} ns   run() ${runNs.toFixed(0).padStart(6)} ns   with ledger ${ledgerNs.toFixed(0).padStart(6)} ns` +
        `   run() adds ${(runNs - cNs).toFixed(0)} ns, the ledger ${(ledgerNs - runNs).toFixed(0)} ns, ratio ${(cNs / ledgerNs).toFixed(3)}`,
    );
  }
}
if (json) {
  console.log(
    JSON.stringify({
      bench: "run-cost",
      case: "ledger accounting",
      unit: "ns",
      ours: accountNs,
      peer: clockNs,
      ratio: clockNs / accountNs,
      runs: 3,
    }),
  );
} else {
  console.log(
    `ledger     accounting of one exit alone ${accountNs} ns, by ${clock}; two readings of CLOCK_MONOTONIC would be ${clockNs} ns`,
  );
}
process.exit(0);
