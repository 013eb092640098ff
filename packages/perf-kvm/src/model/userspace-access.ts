/**
 * What an exit to user space was for. The kernel traces a write before it leaves for user space and a port read after it
 * has come back (arch/x86/kvm/x86.c, kvm_pio and kvm_mmio); an MSR that user space handles is not traced at all.
 */
import { KVM_EXIT_IO, KVM_EXIT_MMIO } from "@tools-kvm/kvm-binding/uapi";
import { EVENT } from "../columns/events.js";

export interface UserspaceExit {
  /** KVM_EXIT_*. */
  readonly reason: number;
  /** Port or address with the direction; empty when nothing told. */
  readonly detail: string;
  readonly timeNs: number;
}

/** kvm_pio.rw, and kvm_mmio.type. */
const PIO_IN = 0;
const MMIO_READ_TO_COME = 0;
const MMIO_WRITE = 2;

/** Follows one vCPU thread. */
export class UserspaceAccess {
  /** The traced access that has not led to an exit yet. */
  #access = { event: -1, detail: "" };
  /** A port read has left for user space at this time: its trace is to come. */
  #readOutNs = Number.NaN;

  /** A kvm_pio or kvm_mmio event; gives the exit that it completes, a port read. */
  access(event: number, variant: number, address: number): UserspaceExit | undefined {
    if (event === EVENT.PIO && variant === PIO_IN) return this.#settle(`0x${address.toString(16)} in`);
    if (event === EVENT.PIO || variant === MMIO_WRITE || variant === MMIO_READ_TO_COME) {
      const isWrite = event === EVENT.PIO || variant === MMIO_WRITE;
      this.#access = { event, detail: `0x${address.toString(16)} ${isWrite ? "out" : "in"}` };
    }
    return undefined;
  }

  /** A kvm_userspace_exit event; gives what is complete then: a port read before it whose trace was lost, and this one. */
  exit(reason: number, timeNs: number): readonly UserspaceExit[] {
    const before = this.settle();
    const { event, detail } = this.#access;
    this.#access = { event: -1, detail: "" };
    const isNamed =
      (reason === KVM_EXIT_IO && event === EVENT.PIO) || (reason === KVM_EXIT_MMIO && event === EVENT.MMIO);
    const exits = before === undefined ? [] : [before];
    if (isNamed) exits.push({ reason, detail, timeNs });
    else if (reason === KVM_EXIT_IO) this.#readOutNs = timeNs;
    else exits.push({ reason, detail: "", timeNs });
    return exits;
  }

  /** A port read whose trace never came: its record was lost, or the recording ends. */
  settle(): UserspaceExit | undefined {
    return this.#settle("");
  }

  #settle(detail: string): UserspaceExit | undefined {
    const timeNs = this.#readOutNs;
    this.#readOutNs = Number.NaN;
    return Number.isNaN(timeNs) ? undefined : { reason: KVM_EXIT_IO, detail, timeNs };
  }
}
