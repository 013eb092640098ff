/** What a test is, and the list of all of them. */

export interface Promised {
  /** What the kernel promises, in one sentence. */
  readonly promise: string;
  /** Where it says so: a section of Documentation/virt/kvm/api.rst, or a chapter of the processor's manual. */
  readonly source: string;
  /** Why this cannot pass anywhere yet; for one kind of KVM only, src/expected-failures.ts is the place. */
  readonly expectedFailure?: string;
}

export type Body = () => void | Promise<void>;

export interface KernelTest extends Promised {
  readonly theme: string;
  readonly name: string;
  /** `theme/name`, by which filters and the list of expected failures know it. */
  readonly id: string;
  readonly body: Body;
}

/** Thrown by a test that cannot be run here. */
export class Skip extends Error {
  override readonly name = "Skip";
}

const tests: KernelTest[] = [];

/** Registers a test. @throws Error when the theme has a test of this name */
export function test(theme: string, name: string, promised: Promised, body: Body): void {
  const id = `${theme}/${name}`;
  if (tests.some((other) => other.id === id)) throw new Error(`two tests are called ${id}`);
  tests.push({ ...promised, theme, name, id, body });
}

/** `test` for one theme; `source` is where its promises stand unless a test names another place. */
export function themeOf(theme: string, source: string) {
  return (name: string, promise: string, body: Body, more: Partial<Promised> = {}): void =>
    test(theme, name, { promise, source, ...more }, body);
}

/** All tests, theme after theme, in the order in which they were registered. */
export function allTests(): readonly KernelTest[] {
  return tests;
}
