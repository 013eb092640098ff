/** Exits per second of a vCPU Worker with a device behind the address, against a loop in C with nothing behind it. */
import { fileURLToPath } from "node:url";
import type { Bench, BenchContext, Case, MissingPeer, Peer } from "../bench.js";
import { compile } from "../compile.js";
import { END_PORT, singleGuest, type Target } from "./exits-guest.js";

const PROGRAM = fileURLToPath(new URL("exits-ours.js", import.meta.url));
const COUNT = { full: 200_000, quick: 50_000 };

const LATCH: Target = { bus: "pio", address: 0xe0 };
/** The scratch register of the serial port. */
const SERIAL_SCRATCH: Target = { bus: "pio", address: 0x3ff };
const EXERCISER_SCRATCH: Target = { bus: "mmio", address: 0xfeb0_0010 };

const CASES: readonly (readonly [name: string, targets: readonly Target[]])[] = [
  ["pio", [LATCH]],
  ["mmio", [EXERCISER_SCRATCH]],
  ["pio, 2 vCPUs, 2 devices", [LATCH, SERIAL_SCRATCH]],
  ["pio, 2 vCPUs, 1 device", [LATCH, LATCH]],
];

export const exits: Bench = {
  name: "exits",
  summary: "exits per second of a vCPU Worker with its device, against a C loop on the same guest",
  runs: { full: 9, quick: 3 },
  async cases(context) {
    const peer = await compile("exits", context.programs);
    return CASES.map(([name, targets]) => exitsCase(name, targets, peer, context));
  },
};

function exitsCase(
  name: string,
  targets: readonly Target[],
  peer: string | MissingPeer,
  { quick, programs }: BenchContext,
): Case {
  const count = quick ? COUNT.quick : COUNT.full;
  const ours = async (): Promise<number> => {
    const words = targets.map(({ bus, address }) => `${bus}:${address}`);
    const { stdout } = await programs.run([process.execPath, PROGRAM, String(count), ...words]);
    return exitsPerSecond(stdout);
  };
  // Two vCPUs race against two processes of one each: nothing in C could be shared less.
  const inC = async (path: string): Promise<number> => {
    const outputs = await Promise.all(
      targets.map((target) => {
        const input = singleGuest(target, count);
        return programs.run([path, target.bus, String(target.address), String(END_PORT)], { input });
      }),
    );
    return exitsPerSecond(outputs.map(({ stdout }) => stdout).join(""));
  };
  const measured = (path: string): Peer => ({ name: "tools/bench/c/exits.c", measure: () => inC(path) });
  return { name, unit: "exits/s", ours, peer: typeof peer === "string" ? measured(peer) : peer };
}

/** The rates of all vCPUs together. */
function exitsPerSecond(lines: string): number {
  const each = lines
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { exits: number; ns: number });
  return each.reduce((sum, { exits, ns }) => sum + (exits / ns) * 1e9, 0);
}
