/**
 * The suite's own test: KVM's answers, spoiled on purpose, one at a time (`--break NAME`). A suite that stays green then proves nothing,
 * so each names the tests that must turn red.
 */
import * as b from "@tools-kvm/kvm-binding";

export interface Mutation {
  readonly what: string;
  /** Ids of tests that must fail. */
  readonly breaks: readonly string[];
  readonly spoil: () => void;
}

type Method = (...words: unknown[]) => unknown;

/** Replaces a method of the binding; the new one is given the right one. */
function instead<P extends object, N extends keyof P>(
  prototype: P,
  name: N,
  wrong: (right: Method, ...words: never[]) => unknown,
): void {
  const method = prototype[name] as Method;
  prototype[name] = function (this: P, ...words: unknown[]) {
    return wrong(method.bind(this), ...(words as never[]));
  } as P[N];
}

export const MUTATIONS: Readonly<Record<string, Mutation>> = {
  "api-version": {
    what: "KVM_GET_API_VERSION says 11",
    breaks: ["capabilities/api-version"],
    spoil: () => instead(b.Kvm.prototype, "getApiVersion", () => 11),
  },
  "lost-interrupt": {
    what: "KVM_IRQ_LINE succeeds and does nothing",
    breaks: ["irq-lines/pic-4", "irq-lines/ioapic-edge"],
    spoil: () => instead(b.Vm.prototype, "irqLine", () => undefined),
  },
  "lost-dirty-page": {
    what: "KVM_GET_DIRTY_LOG forgets one of eight pages",
    breaks: ["dirty-log/exact"],
    spoil: () =>
      instead(b.Vm.prototype, "getDirtyLog", (right, slot: number, bitmap: Uint8Array) => {
        right(slot, bitmap);
        for (let i = 0; i < bitmap.length; i++) bitmap[i] &= ~(1 << 3);
        return bitmap;
      }),
  },
  "writable-rom": {
    what: "KVM_SET_USER_MEMORY_REGION forgets KVM_MEM_READONLY",
    breaks: ["memory-slots/readonly"],
    spoil: () =>
      instead(b.Vm.prototype, "setUserMemoryRegion", (right, region: b.UserMemoryRegion) =>
        right({ ...region, readonly: false }),
      ),
  },
  "host-cpuid": {
    what: "KVM_SET_CPUID2 succeeds and does nothing",
    breaks: ["cpuid/guest-sees"],
    spoil: () => instead(b.Vcpu.prototype, "setCpuid2", () => undefined),
  },
  "stopped-clock": {
    what: "KVM_GET_CLOCK always says the same",
    breaks: ["time/clock-runs"],
    spoil: () => instead(b.Vm.prototype, "getClock", (right) => ({ ...(right() as b.ClockData), clock: 1n })),
  },
  hang: {
    what: "KVM_GET_API_VERSION never returns",
    breaks: ["capabilities/api-version"],
    spoil: () =>
      instead(b.Kvm.prototype, "getApiVersion", () => {
        for (;;);
      }),
  },
  crash: {
    what: "KVM_GET_API_VERSION ends its process",
    breaks: ["capabilities/api-version"],
    spoil: () => instead(b.Kvm.prototype, "getApiVersion", () => process.kill(process.pid, "SIGKILL")),
  },
};

/** @throws Error when there is no such mutation */
export function spoil(name: string): void {
  const mutation = MUTATIONS[name];
  if (mutation === undefined) throw new Error(`there is no mutation ${name}`);
  mutation.spoil();
}
