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

/** Replaces a method by one that is given the right answer to spoil. */
function after<P extends object, N extends keyof P>(
  prototype: P,
  name: N,
  change: (answer: unknown, self: P) => unknown,
): void {
  const right = prototype[name] as (...words: unknown[]) => unknown;
  prototype[name] = function (this: P, ...words: unknown[]) {
    return change(right.apply(this, words), this);
  } as P[N];
}

export const MUTATIONS: Readonly<Record<string, Mutation>> = {
  "api-version": {
    what: "KVM_GET_API_VERSION says 11",
    breaks: ["capabilities/api-version"],
    spoil: () => after(b.Kvm.prototype, "getApiVersion", () => 11),
  },
};

/** @throws Error when there is no such mutation */
export function spoil(name: string): void {
  const mutation = MUTATIONS[name];
  if (mutation === undefined) throw new Error(`there is no mutation ${name}`);
  mutation.spoil();
}
