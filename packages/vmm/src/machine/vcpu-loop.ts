/**
 * The exit loop of one vCPU: into the guest, out with a reason, the device answers, back in. This is the whole of what
 * a vCPU Worker does while the machine runs; nothing in it allocates.
 */
import { EAGAIN } from "@tools-kvm/kvm-binding";
import { COMMAND, type ControlWord, VCPU_STATE } from "./control.js";
import { NEXT } from "./exits.js";

/** The part of a vCPU that the loop uses; a recorded one serves in tests. */
export interface RunnableVcpu {
  /** Exit reason, or -errno for EINTR and EAGAIN; see `Vcpu.run` of the binding. */
  run(): number;
}

export interface LoopContext {
  readonly vcpu: RunnableVcpu;
  /** Present when the machine has zones of coalesced writes. */
  readonly coalesced?: { drain(): void };
  readonly handlers: readonly ((() => number) | undefined)[];
  readonly command: ControlWord;
  readonly state: ControlWord;
  /** True once a device has asked the machine to end or to reset: then the guest is not entered again. */
  readonly asked: { value: boolean };
}

/** Why a vCPU left its loop. */
export type LoopEnd = { why: "stopped" } | { why: "asked" } | { why: "halted" } | { why: "crashed"; reason: number };

/** Runs until the machine is stopped, a device asks for it, or the guest cannot go on. */
export function runLoop({ vcpu, coalesced, handlers, command, state, asked }: LoopContext): LoopEnd {
  state.set(VCPU_STATE.RUNNING);
  for (;;) {
    const reason = vcpu.run();
    coalesced?.drain();
    if (reason >= 0) {
      const handler = handlers[reason];
      const next = handler === undefined ? NEXT.CRASH : handler();
      if (next === NEXT.RUN && !asked.value) continue;
      if (asked.value) return { why: "asked" };
      return next === NEXT.HALT ? { why: "halted" } : { why: "crashed", reason };
    }
    // EAGAIN: an application processor has left its wait for INIT or SIPI; it just enters again.
    if (reason === -EAGAIN) continue;
    while (command.value === COMMAND.PAUSE) {
      state.set(VCPU_STATE.PAUSED);
      command.waitWhile(COMMAND.PAUSE);
    }
    if (command.value === COMMAND.STOP) return { why: "stopped" };
    state.set(VCPU_STATE.RUNNING);
  }
}
