/**
 * One run of the embedded guest, counted three times: by `perf-kvm top`, by `perf kvm stat`, and by `perf-kvm report` on
 * what perf has recorded. Every hardware exit reason must have the same count in all, and the ground truth (the guest made exactly so many of a kind) must be there.
 * Exit status: 0 they agree, 1 they do not.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { open, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { endAll, start, until } from "./programs.mjs";

const PIO_EXITS = 20_000;
const CPUID_EXITS = 5_000;

const folder = mkdtempSync(join(tmpdir(), "exit-counts-"));

/** `perf kvm stat report`'s table: a name, then the number of samples. */
function perfCounts(text) {
  const counts = new Map();
  for (const line of text.split("\n")) {
    const row = /^\s*(\S+)\s+(\d+)\s+[\d.]+%/.exec(line);
    if (row !== null) counts.set(row[1].toUpperCase(), Number(row[2]));
  }
  return counts;
}

/** perf and the processor's manual differ in a few names. */
const PERF_NAMES = { IOIO: "IO", INTR: "INTERRUPT" };

async function main() {
  const guest = start("node", ["packages/vmm/bin/vmm.js", "run", "--name", "exit-counts"]);
  await until("the guest's prompt", guest, () => guest.out.text.includes("kvm> "));

  const data = join(folder, "perf.data");
  const [control, acknowledged] = [join(folder, "control"), join(folder, "acknowledged")];
  execFileSync("mkfifo", [control, acknowledged]);
  const ours = start("node", [
    ...["packages/perf-kvm/bin/perf-kvm.js", "top", "--vm", "exit-counts", "--json"],
    ...["--duration", "600", "--interval", "2", "--source", "tracepoints"],
  ]);
  const theirs = start("perf", [
    // --host: without it perf leaves host events out, and the tracepoints are the host's.
    ...["kvm", "--host", "stat", "record", "-o", data, "-p", String(guest.child.pid)],
    // Disabled until told otherwise, and it says when it is ready: its start takes long in here.
    ...["--delay=-1", `--control=fifo:${control},${acknowledged}`],
  ]);
  await until("perf-kvm's first report", ours, () => ours.out.text.includes("\n"));
  // Opening a fifo waits for the other side; perf answers once it records.
  await writeFile(control, "enable\n");
  const ready = await open(acknowledged, "r");
  await ready.read(Buffer.alloc(16));

  for (const load of [`exits pio ${PIO_EXITS}`, `exits cpuid ${CPUID_EXITS}`]) {
    const before = guest.out.text.length;
    guest.child.stdin.write(`${load}\r`);
    await until(load, guest, () => guest.out.text.indexOf("us each", before) > 0);
  }
  // Both tools hear of everything up to here; the guest then idles at its prompt.
  await sleep(1_000);
  await ready.close();
  theirs.child.kill("SIGINT");
  ours.child.kill("SIGINT");
  await Promise.all([theirs.done, ours.done]);
  guest.child.stdin.write("poweroff\r");
  await guest.done;

  const total = JSON.parse(ours.out.text.trim().split("\n").at(-1));
  const report = start("perf", ["kvm", "--host", "-i", data, "stat", "report"]);
  await report.done;
  const recorded = start("node", [
    ...["packages/perf-kvm/bin/perf-kvm.js", "report", "-i", data, "--by", "reason", "--json"],
  ]);
  await recorded.done;
  return compare(total, JSON.parse(recorded.out.text), perfCounts(report.out.text + report.out.errors), {
    text: report.out.text,
    errors: report.out.errors + theirs.out.errors,
  });
}

function compare(total, recorded, perf, report) {
  const faults = [];
  if (total.lost !== 0) faults.push(`perf-kvm lost ${total.lost} records`);
  const ours = new Map();
  for (const { source, reason, count } of total.rows) {
    if (source === "kvm_exit") ours.set(reason, (ours.get(reason) ?? 0) + count);
  }
  if (ours.size === 0) faults.push(`perf-kvm saw no kvm_exit: ${total.notes.join("; ")}`);
  if (perf.size === 0) faults.push(`perf kvm stat saw nothing: ${report.text}${report.errors}`);
  const fromFile = new Map(recorded.rows.map(({ reason, count }) => [reason, count]));
  for (const note of recorded.notes) faults.push(`perf-kvm report: ${note}`);
  console.log("reason         perf-kvm top  perf kvm stat  perf-kvm report");
  for (const [reason, count] of ours) {
    const other = perf.get(reason) ?? perf.get(PERF_NAMES[reason] ?? reason) ?? 0;
    const reported = fromFile.get(reason) ?? 0;
    console.log(`${reason.padEnd(16)}${[count, other, reported].map((each) => String(each).padStart(14)).join("")}`);
    if (count !== other) faults.push(`${reason}: ${count} here, ${other} there`);
    if (reported !== other) faults.push(`${reason}: ${reported} by perf-kvm report, ${other} by perf`);
  }
  const pio = total.rows.find(({ reason, detail }) => reason === "IOIO" && detail === "0xe0 out")?.count;
  if (pio !== PIO_EXITS) faults.push(`the guest wrote ${PIO_EXITS} times to port 0xe0, perf-kvm counts ${pio}`);
  const cpuid = ours.get("CPUID");
  if (cpuid !== CPUID_EXITS) faults.push(`the guest executed CPUID ${CPUID_EXITS} times, perf-kvm counts ${cpuid}`);
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  console.log(faults.length === 0 ? "all count the same" : report.text);
  return faults.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}
