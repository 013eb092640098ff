/** Where the samples of each vCPU thread were: in which function of the guest, or in the host. */
import {
  PERF_RECORD_MISC_CPUMODE_MASK,
  PERF_RECORD_MISC_GUEST_KERNEL,
  PERF_RECORD_MISC_GUEST_USER,
} from "@tools-kvm/kvm-binding/uapi";
import type { OnSample, RecordedThread } from "../model/exit-intervals.js";
import { readAddress } from "../symbols/address.js";
import { type AddressResolver, functionOf } from "../symbols/resolver.js";
import { ExportError } from "./format.js";

export type SymbolsOf = (machine: { readonly pid: number }) => AddressResolver;

export const SAMPLE_MODES = ["guest kernel", "guest user", "host"] as const;
export type SampleMode = (typeof SAMPLE_MODES)[number];

/** What a sample is shown as. */
export interface SamplePlace {
  /** Its place in `SampleTracks.places`. */
  readonly index: number;
  readonly mode: SampleMode;
  /** The guest's function; undefined where it has no name, and in the host. */
  readonly name: string | undefined;
}

/** The samples of one thread, in the order of their times. */
export class SampleTrack {
  readonly timeNs: number[] = [];
  readonly place: number[] = [];
}

/** 2^24 numbers twice; more no viewer shows. */
const MOST_SAMPLES = 2 ** 24;
const MISC_OFFSET = 4;

export class SampleTracks {
  readonly places: SamplePlace[] = [];
  readonly #byName = new Map<string, SamplePlace>();
  readonly #tracks = new Map<number, SampleTrack>();
  readonly #resolvers = new Map<number, AddressResolver>();
  readonly #symbolsOf: SymbolsOf;
  #count = 0;

  constructor(symbolsOf: SymbolsOf) {
    this.#symbolsOf = symbolsOf;
  }

  /** For ExitIntervals. Throws ExportError for more samples than can be held. */
  readonly add: OnSample = (thread, view, at, { ip }, timeNs) => {
    if (ip < 0) return;
    if (++this.#count > MOST_SAMPLES) throw new ExportError(`it has more than ${MOST_SAMPLES} samples`);
    let track = this.#tracks.get(thread.index);
    if (track === undefined) {
      track = new SampleTrack();
      this.#tracks.set(thread.index, track);
    }
    const misc = view.getUint16(at + MISC_OFFSET, true) & PERF_RECORD_MISC_CPUMODE_MASK;
    track.timeNs.push(timeNs);
    track.place.push(this.#placeOf(thread, misc, readAddress(view, at + ip)).index);
  };

  of(thread: RecordedThread): SampleTrack | undefined {
    return this.#tracks.get(thread.index);
  }

  #placeOf({ pid }: RecordedThread, misc: number, address: number): SamplePlace {
    if (misc === PERF_RECORD_MISC_GUEST_USER) return this.#place("guest user", undefined);
    if (misc !== PERF_RECORD_MISC_GUEST_KERNEL) return this.#place("host", undefined);
    let resolver = this.#resolvers.get(pid);
    if (resolver === undefined) {
      resolver = this.#symbolsOf({ pid });
      this.#resolvers.set(pid, resolver);
    }
    return this.#place("guest kernel", functionOf(resolver.resolve(address)));
  }

  #place(mode: SampleMode, name: string | undefined): SamplePlace {
    const key = `${mode} ${name ?? ""}`;
    let place = this.#byName.get(key);
    if (place === undefined) {
      place = { index: this.places.length, mode, name };
      this.places.push(place);
      this.#byName.set(key, place);
    }
    return place;
  }
}
