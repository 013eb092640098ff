/** Runs the cases of a bench: both sides in turn, so that what else the machine does meanwhile happens to both. */
import { type Bench, type BenchContext, BenchError, type Case, type Measurement, UNITS, type Unit } from "./bench.js";

/** All runs of one side of a case. */
export interface Sample {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The outcome of one case. */
export interface Figure {
  readonly bench: string;
  readonly case: string;
  readonly unit: Unit;
  readonly ours: Sample;
  /** Null when there is no peer, or none on this machine. */
  readonly peer: Sample | null;
  readonly peerName?: string;
  /** Why a peer that there could be has no figure. */
  readonly missing?: string;
  /** How many times better than the peer: larger is better, 1 is equal. */
  readonly ratio: number | null;
  readonly runs: number;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function sampleOf(values: readonly number[]): Sample {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** How many times better `ours` is than `peer`. */
export function ratio(unit: Unit, ours: number, peer: number): number {
  return UNITS[unit] === "more" ? ours / peer : peer / ours;
}

/** Called before each round of a case, for progress. */
export type OnRound = (caseName: string, round: number, rounds: number) => void;

/**
 * Runs every case and hands out its figure as soon as it is there.
 * @param only cases whose name begins so. Throws BenchError when there is none
 */
export async function* runBench(
  bench: Bench,
  context: BenchContext,
  onRound: OnRound,
  only = "",
): AsyncGenerator<Figure> {
  const rounds = context.quick ? bench.runs.quick : bench.runs.full;
  const all = await bench.cases(context);
  const chosen = all.filter(({ name }) => name.startsWith(only));
  if (chosen.length === 0) throw new BenchError(`no case ${only}; there are ${all.map(({ name }) => name).join(", ")}`);
  for (const each of chosen) {
    yield await runCase(bench.name, each, rounds, (round) => onRound(each.name, round, rounds));
  }
}

/** Ours first in even rounds, the peer first in odd ones. */
export async function runCase(
  bench: string,
  { name, unit, ours, peer }: Case,
  rounds: number,
  onRound: (round: number) => void,
): Promise<Figure> {
  const measure = peer !== undefined && "measure" in peer ? peer.measure : undefined;
  const values = { ours: [] as number[], peer: [] as number[] };
  const run = async (side: "ours" | "peer", measurement: Measurement | undefined): Promise<void> => {
    if (measurement !== undefined) values[side].push(await measurement());
  };
  for (let round = 0; round < rounds; round++) {
    onRound(round);
    if (round % 2 === 0) {
      await run("ours", ours);
      await run("peer", measure);
    } else {
      await run("peer", measure);
      await run("ours", ours);
    }
  }
  const ourSample = sampleOf(values.ours);
  const peerSample = measure === undefined ? null : sampleOf(values.peer);
  return {
    bench,
    case: name,
    unit,
    ours: ourSample,
    peer: peerSample,
    peerName: peer?.name,
    missing: peer !== undefined && "missing" in peer ? peer.missing : undefined,
    ratio: peerSample === null ? null : ratio(unit, ourSample.median, peerSample.median),
    runs: rounds,
  };
}
