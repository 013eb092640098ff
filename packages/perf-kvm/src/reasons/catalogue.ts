/** All exit reasons, and how to find one by what a person types. */
import { PVM_REASONS } from "./pvm.js";
import type { ExitReason, Kind } from "./reason.js";
import { SVM_REASONS } from "./svm.js";
import { USERSPACE_REASONS } from "./userspace.js";
import { VMX_BASIC_REASON, VMX_FAILED_ENTRY, VMX_REASONS } from "./vmx.js";

export { codeText, type ExitReason, KINDS, type Kind } from "./reason.js";

export const EXIT_REASONS: Readonly<Record<Kind, readonly ExitReason[]>> = {
  vmx: VMX_REASONS,
  svm: SVM_REASONS,
  pvm: PVM_REASONS,
  userspace: USERSPACE_REASONS,
};

const ALL: readonly ExitReason[] = Object.values(EXIT_REASONS).flat();

/** What stands before a name in the kernel's headers, and whose name it then is. */
const PREFIXES: readonly (readonly [prefix: string, kind: Kind])[] = [
  ["KVM_EXIT_", "userspace"],
  ["EXIT_REASON_", "vmx"],
  ["VMX_EXIT_", "vmx"],
  ["VMX_", "vmx"],
  ["SVM_EXIT_", "svm"],
  ["VMEXIT_", "svm"],
  ["SVM_", "svm"],
  ["PVM_EXIT_REASONS_", "pvm"],
  ["PVM_", "pvm"],
  ["USERSPACE_", "userspace"],
];

const NUMBER = /^(-1|0x[0-9a-f]{1,8}|\d{1,10})$/i;

/** The number that `text` is; undefined when it is a name. -1 is 0xffffffff, as the tracepoint has it. */
export function exitNumber(text: string): number | undefined {
  if (!NUMBER.test(text)) return undefined;
  return text === "-1" ? 0xffff_ffff : Number(text);
}

/**
 * Every reason of this name or number, of whatever kind. Names are taken in any case, with or without the prefix of a
 * kernel header, which then tells the kind; numbers in decimal or 0x.
 */
export function findReasons(text: string): ExitReason[] {
  const number = exitNumber(text);
  return number === undefined ? byName(text) : byNumber(number);
}

function byNumber(number: number): ExitReason[] {
  const failedEntry = number >= VMX_FAILED_ENTRY ? number & VMX_BASIC_REASON : -1;
  return ALL.filter(
    ({ kind, codes, source }) =>
      codes.includes(number) || (kind === "vmx" && codes.includes(failedEntry) && /VM-Entry Failures/.test(source)),
  );
}

function byName(text: string): ExitReason[] {
  const name = normal(text);
  const named = (wanted: string, kind?: Kind) =>
    ALL.filter((each) => (kind === undefined || each.kind === kind) && namesOf(each).includes(wanted));
  const whole = named(name);
  if (whole.length > 0) return whole;
  for (const [prefix, kind] of PREFIXES) {
    if (!name.startsWith(prefix)) continue;
    const found = named(name.slice(prefix.length), kind);
    if (found.length > 0) return found;
  }
  return [];
}

/** `DE excp`, `idle-halt` and `npf` as the tables of this program spell them. */
function normal(text: string): string {
  return text.toUpperCase().replace(/[^A-Z0-9]+/g, "_");
}

function namesOf({ name, aliases }: ExitReason): readonly string[] {
  return [name, ...aliases];
}

const MAXIMUM_TEXT = 64;

/** The names most like `text`, nearest first; none when nothing is near. */
export function nearestNames(text: string, count = 4): string[] {
  const wanted = normal(text).slice(0, MAXIMUM_TEXT);
  const bare = PREFIXES.reduce(
    (name, [prefix]) => (name.startsWith(prefix) ? name.slice(prefix.length) : name),
    wanted,
  );
  if (bare === "") return [];
  const names = [...new Set(ALL.flatMap(namesOf))];
  const lengthGap = (name: string): number => Math.abs(name.length - bare.length);
  const near = names
    .map((name) => ({ name, distance: name.includes(bare) ? 0.5 : editDistance(name, bare) }))
    .filter(({ distance }) => distance <= Math.max(2, bare.length / 3));
  return near
    .sort((a, b) => a.distance - b.distance || lengthGap(a.name) - lengthGap(b.name))
    .slice(0, count)
    .map(({ name }) => name);
}

/** Levenshtein: insertions, deletions and replacements that turn one into the other. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(replaced, previous[j]! + 1, current[j - 1]! + 1));
    }
    previous = current;
  }
  return previous[b.length]!;
}
