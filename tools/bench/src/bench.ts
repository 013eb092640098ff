/**
 * What a bench is: a list of cases, each with a way to get one figure from us and, mostly, one from a peer. How often
 * they run, in which order, and what is printed is the runner's business (runner.ts, report.ts).
 */
import type { Programs } from "./programs.js";

/** What a figure counts, and whether more of it is better. */
export const UNITS = {
  "exits/s": "more",
  "events/s": "more",
  "requests/s": "more",
  "frames/s": "more",
  "MB/s": "more",
  ms: "less",
  MB: "less",
  ns: "less",
  "%": "less",
} as const satisfies Record<string, "more" | "less">;
export type Unit = keyof typeof UNITS;

/** One figure of one run, in the case's unit. */
export type Measurement = () => Promise<number>;

export interface Peer {
  readonly name: string;
  readonly measure: Measurement;
}

/** A peer that this machine does not have, and how to get it. */
export interface MissingPeer {
  readonly name: string;
  readonly missing: string;
}

export interface Case {
  readonly name: string;
  readonly unit: Unit;
  readonly ours: Measurement;
  /** Left out where nobody else has such a thing. */
  readonly peer?: Peer | MissingPeer;
}

export interface Bench {
  readonly name: string;
  /** One line for the list of benches. */
  readonly summary: string;
  /** How often each side of each case runs. */
  readonly runs: { readonly full: number; readonly quick: number };
  /** Throws BenchError when this machine cannot run it at all. */
  cases(context: BenchContext): Promise<readonly Case[]> | readonly Case[];
}

export interface BenchContext {
  /** Shorter runs, for a whole bench in under 30 s. */
  readonly quick: boolean;
  readonly programs: Programs;
}

/** A bench cannot run here; the message says why and what to do. */
export class BenchError extends Error {
  override readonly name = "BenchError";
}
