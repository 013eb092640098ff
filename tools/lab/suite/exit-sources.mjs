/**
 * Where exits come from, told by kvm_exit and the tracepoints beside it: `perf-kvm top` looks at the embedded guest, whose
 * loops make exactly so many exits of a kind. Each has one instruction, in the loop's function by the symbols that the
 * machine tells of, and the detail that the guest asked for; the vCPU's time adds up.
 * Exit status: 0 all is so, 1 it is not.
 */
import { endAll, start, until } from "./programs.mjs";

/** What the guest is told, how often, and what has to come of it. */
const LOADS = [
  { kind: "pio", count: 5000, reason: "IOIO", detail: /^0xe0 out$/ },
  { kind: "cpuid", count: 1000, reason: "CPUID", detail: /^leaf 0x[0-9a-f]+$/ },
  { kind: "msr", count: 500, reason: "MSR", detail: /^(read|0x[0-9a-f]+ in)$/ },
  { kind: "mmio", count: 500, reason: "NPF", detail: /^0xfeb0[0-9a-f]{4} in$/ },
];

async function main() {
  const guest = start("node", ["packages/vmm/bin/vmm.js", "run", "--name", "exit-sources"]);
  await until("the guest's prompt", guest, () => guest.out.text.includes("kvm> "));
  const top = start("node", [
    ...["packages/perf-kvm/bin/perf-kvm.js", "top", "--vm", "exit-sources", "--json", "--interval", "2"],
  ]);
  await until("perf-kvm's first report", top, () => top.out.text.includes("\n"));
  for (const { kind, count } of LOADS) {
    const before = guest.out.text.length;
    guest.child.stdin.write(`exits ${kind} ${count}\r`);
    await until(kind, guest, () => guest.out.text.indexOf("kvm> ", before) > 0);
  }
  top.child.kill("SIGINT");
  await top.done;
  guest.child.stdin.write("poweroff\r");
  await guest.done;
  return check(JSON.parse(top.out.text.trim().split("\n").at(-1)));
}

function check(total) {
  const faults = [];
  if (total.lost !== 0) faults.push(`${total.lost} records were lost`);
  for (const { kind, count, reason, detail } of LOADS) {
    const isOurs = (row) => row.source === "kvm_exit" && row.reason === reason && detail.test(row.detail);
    const row = total.rows.filter(isOurs).sort((a, b) => b.count - a.count)[0];
    if (row?.count !== count) faults.push(`exits ${kind} ${count}: counted ${row?.count} of ${reason} ${row?.detail}`);
    const rips = total.groups.rip.filter((each) => isOurs(each) && each.detail === row?.detail);
    const [loop] = rips.sort((a, b) => b.count - a.count);
    console.log(`${reason} ${row?.detail}: ${loop?.count} at ${loop?.rip}, ${loop?.symbol ?? loop?.why}`);
    if (loop?.count !== count) faults.push(`${reason}: ${loop?.count} of one instruction in place of ${count}`);
    if (loop?.symbol?.split("+")[0] !== `${kind}_loop`) faults.push(`${reason}: perf-kvm calls it ${loop?.symbol}`);
    if (!loop?.symbol?.startsWith(`${kind}_loop+`)) faults.push(`${loop?.rip} is ${loop?.symbol}, not in ${kind}_loop`);
  }
  const [time] = total.times;
  const { guestNs, kernelNs, pollingNs, userNs, deviceNs, asleepNs, queuedNs, wallNs } = time;
  console.log(JSON.stringify(time));
  if (time.guestFrom !== "kvm_exit" || time.userFrom !== "ledger") faults.push("the time is told by ticks");
  if (guestNs <= 0 || deviceNs <= 0) faults.push("no time in the guest, or none in its devices");
  const parts = guestNs + kernelNs + pollingNs + userNs + deviceNs + asleepNs + queuedNs;
  if (Math.abs(parts - wallNs) > 1000) faults.push(`the parts of the time are ${parts} ns, and ${wallNs} ns passed`);
  if (!total.rows.some(({ reason, detail }) => reason === "HLT" && /^(slept|polled)$/.test(detail)))
    faults.push("no halt that says how it was waited for");
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  return faults.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} finally {
  endAll();
}
