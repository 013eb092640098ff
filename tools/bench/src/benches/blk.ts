/**
 * Requests to a virtio disk, from the embedded guest's driver at CPL3: the same guest, the same image and the same queue
 * depth on both sides. The image is in the page cache, so it is the way to it that is measured, and not a disk.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Bench, BenchContext, Case } from "../bench.js";
import { missingQemu, qemuVirtio, vmmRun } from "../commands.js";
import { type GuestJob, jobCommandLine, secondsOf } from "../guest-job.js";
import { tscKhz } from "../tsc.js";

const IMAGE_MIB = 256;
const RANDOM_BYTES = 4096;
const SEQUENTIAL_BYTES = 131_072;
const QUICK_SHARE = 10;

const CASES = [
  { name: "4 KiB random reads, queue depth 1", kind: "randread", bytes: RANDOM_BYTES, depth: 1, count: 40_000 },
  { name: "4 KiB random reads, queue depth 32", kind: "randread", bytes: RANDOM_BYTES, depth: 32, count: 200_000 },
  { name: "sequential reads of 128 KiB, depth 1", kind: "read", bytes: SEQUENTIAL_BYTES, depth: 1, count: 10_000 },
  { name: "sequential reads of 128 KiB, depth 32", kind: "read", bytes: SEQUENTIAL_BYTES, depth: 32, count: 20_000 },
] as const;

export const blk: Bench = {
  name: "blk",
  summary: "a virtio disk's random reads and throughput at queue depths 1 and 32, against QEMU's microvm",
  runs: { full: 11, quick: 3 },
  cases(context) {
    const image = writeImage(context.programs.folder);
    const rate = tscKhz();
    return CASES.map((each) => blkCase(each, image, rate, context));
  },
};

function blkCase(
  { name, kind, bytes, depth, count: fullCount }: (typeof CASES)[number],
  image: string,
  khz: number,
  { quick, programs }: BenchContext,
): Case {
  const count = quick ? fullCount / QUICK_SHARE : fullCount;
  const job: GuestJob = { command: `blk ${kind} ${bytes} ${depth}`, count, counter: "requests" };
  const append = ["--append", jobCommandLine(job)];
  const figure = async (machine: readonly string[]): Promise<number> => {
    const seconds = await secondsOf(machine, job, { programs, tscKhz: khz });
    return bytes === RANDOM_BYTES ? count / seconds : (count * bytes) / seconds / 1e6;
  };
  const ours = vmmRun("--disk", `${image},format=raw`, ...append);
  const drive = ["-drive", `file=${image},format=raw,if=none,id=disk`];
  const theirs = qemuVirtio("virtio-blk-device,drive=disk", ...drive, "-append", jobCommandLine(job));
  return {
    name,
    unit: bytes === RANDOM_BYTES ? "requests/s" : "MB/s",
    ours: () => figure(ours),
    peer: missingQemu() ?? { name: "qemu-system-x86_64 -M microvm -enable-kvm", measure: () => figure(theirs) },
  };
}

/** An image without holes: reading those would be a different thing. */
function writeImage(folder: string): string {
  const path = join(folder, "disk.raw");
  const fd = openSync(path, "w");
  const bytes = new Uint8Array(2 ** 20).fill(0x5a);
  for (let written = 0; written < IMAGE_MIB; written++) writeSync(fd, bytes);
  closeSync(fd);
  return path;
}
