/**
 * Small frames from the embedded guest's driver at CPL3 to a tap, and back: the host's kernel throws frames to nobody away,
 * and answers ARP requests for its own address. Each run has a network namespace of its own, so that the host keeps its
 * interfaces.
 */
import { spawnSync } from "node:child_process";
import { type Bench, type BenchContext, BenchError, type Case } from "../bench.js";
import { missingQemu, qemuVirtio, vmmRun } from "../commands.js";
import { type GuestJob, jobCommandLine, secondsOf } from "../guest-job.js";
import { tscKhz } from "../tsc.js";

const TAP = "tap0";
/** The address that the guest asks for. */
const HOST_ADDRESS = "10.99.0.1/24";
const SMALL_BYTES = 60;
const QUICK_SHARE = 10;

const CASES = [
  { name: "frames sent, one at a time", command: `net send ${SMALL_BYTES} 1`, count: 100_000 },
  { name: "frames sent, 32 at a time", command: `net send ${SMALL_BYTES} 32`, count: 400_000 },
  { name: "frames answered, one at a time", command: "net echo 1", count: 40_000 },
  { name: "frames answered, 32 at a time", command: "net echo 32", count: 200_000 },
] as const;

export const net: Bench = {
  name: "net",
  summary: "small frames a second through a tap, one way and both, against QEMU's microvm; needs root",
  runs: { full: 11, quick: 3 },
  cases(context) {
    const { status, stderr } = spawnSync("unshare", ["--net", "true"], { encoding: "utf8" });
    if (status !== 0) throw new BenchError(`no network namespace for the tap: run it as root (${stderr.trim()})`);
    const rate = tscKhz();
    return CASES.map((each) => netCase(each, rate, context));
  },
};

function netCase(
  { name, command, count: fullCount }: (typeof CASES)[number],
  khz: number,
  { quick, programs }: BenchContext,
): Case {
  const count = quick ? fullCount / QUICK_SHARE : fullCount;
  const job: GuestJob = { command, count, counter: command.startsWith("net echo") ? "answered" : "sent" };
  const figure = async (machine: readonly string[]): Promise<number> =>
    count / (await secondsOf(besideTap(machine), job, { programs, tscKhz: khz }));
  const ours = vmmRun("--net", `tap,name=${TAP}`, "--append", jobCommandLine(job));
  const netdev = ["-netdev", `tap,id=net,ifname=${TAP},script=no,downscript=no,vhost=off`];
  const theirs = qemuVirtio("virtio-net-device,netdev=net", ...netdev, "-append", jobCommandLine(job));
  return {
    name,
    unit: "frames/s",
    ours: () => figure(ours),
    peer: missingQemu() ?? { name: "qemu-system-x86_64 -M microvm -enable-kvm", measure: () => figure(theirs) },
  };
}

/** A command in a network namespace with a tap that has the host's address. */
function besideTap(command: readonly string[]): string[] {
  const setUp = [
    `ip tuntap add dev ${TAP} mode tap`,
    `echo 1 >/proc/sys/net/ipv6/conf/${TAP}/disable_ipv6`,
    `ip address add ${HOST_ADDRESS} dev ${TAP}`,
    `ip link set ${TAP} up`,
  ];
  return ["unshare", "--net", "sh", "-ec", `${setUp.join("; ")}; exec "$@"`, "sh", ...command];
}
