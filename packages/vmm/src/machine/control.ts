/**
 * The control words of a machine in shared memory: what the main thread wants of each vCPU, and what each vCPU is
 * doing. A Worker inside its loop has no event loop, so this (and a kick) is how it is reached.
 */
import { defineStruct, f64, i32, type Struct, u32 } from "../state/struct.js";

/** What the main thread wants of a vCPU. */
export const COMMAND = { RUN: 0, PAUSE: 1, STOP: 2 } as const;
/** What a vCPU is doing. */
export const VCPU_STATE = { IDLE: 0, RUNNING: 1, PAUSED: 2 } as const;

export const machineControl = defineStruct({
  /** One of COMMAND; every vCPU looks at it whenever KVM_RUN is interrupted. Waited on with Atomics. */
  command: i32,
  /** Guards the ring of coalesced writes, of which a VM has one. */
  coalescedLock: i32,
  /** Guards the kernel's table of interrupt routes, which is set as a whole. */
  routesLock: i32,
  reserved: i32,
  /** Accesses that no device answered. */
  unclaimedPioReads: u32,
  unclaimedPioWrites: u32,
  unclaimedMmioReads: u32,
  unclaimedMmioWrites: u32,
  /** The last such address, for a first hint at what a guest looks for. */
  lastUnclaimedPort: u32,
  lastUnclaimedGpa: f64,
});

export const vcpuControl = defineStruct({
  /** One of VCPU_STATE. Waited on with Atomics. */
  state: i32,
  reserved: i32,
});

/** Word index of `coalescedLock` in the machine's control words. */
export const COALESCED_LOCK = 1;
/** Word index of `routesLock`. */
export const ROUTES_LOCK = 2;
/** Word index of the word that is waited on: it stands first in its struct. */
const WORD = 0;

/** A control word that threads wait on. */
export class ControlWord {
  readonly #word: Int32Array;

  constructor(buffer: SharedArrayBuffer, byteOffset: number) {
    this.#word = new Int32Array(buffer, byteOffset, 1);
  }

  get value(): number {
    return Atomics.load(this.#word, WORD);
  }

  set(value: number): void {
    Atomics.store(this.#word, WORD, value);
    Atomics.notify(this.#word, WORD);
  }

  /** Sleeps while the word is `value`. For Workers. */
  waitWhile(value: number): void {
    while (Atomics.load(this.#word, WORD) === value) Atomics.wait(this.#word, WORD, value);
  }

  /** Resolves once the word is `value`; false after `timeoutMs`, or when `isDue` is no longer true. For the main thread. */
  async until(value: number, timeoutMs: number, isDue: () => boolean): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const now = Atomics.load(this.#word, WORD);
      if (now === value) return true;
      if (!isDue()) return false;
      const left = deadline - performance.now();
      if (left <= 0) return false;
      const change = Atomics.waitAsync(this.#word, WORD, now, Math.min(left, 50));
      if (change.async) await change.value;
    }
  }
}

export type MachineControl = Struct<(typeof machineControl)["fields"]>;
