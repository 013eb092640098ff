/** What is known of an exit reason. The data files of this folder are the one source: tables, `explain` and docs/exits. */

/** Who names it: the processor (VMX, SVM), the software that stands in for it (PVM), or KVM when it returns to the VMM. */
export const KINDS = ["vmx", "svm", "pvm", "userspace"] as const;
export type Kind = (typeof KINDS)[number];

/** Why an exit happens and what helps: often the same on Intel's and on AMD's processors. */
export interface Advice {
  /** What usually makes a guest leave so. */
  readonly causes: readonly string[];
  /** What to try when there are too many, or when there should be none. */
  readonly tries: readonly string[];
}

export interface ExitReason extends Advice {
  readonly kind: Kind;
  /** As tables show it: the manual's name, or KVM's without its prefix. */
  readonly name: string;
  /** The numbers it has. More than one where revisions of PVM differ. */
  readonly codes: readonly number[];
  /** What others call it, without a prefix. */
  readonly aliases: readonly string[];
  /** What has happened. */
  readonly meaning: string;
  /** What holds for this member of a family alone; empty when nothing does. */
  readonly note: string;
  /** Reasons that share their text, one a register or vector, have one section in the documentation: its title. */
  readonly family: string;
  /** Where it is specified. */
  readonly source: string;
}

/** A reason as a data file writes it down. */
export interface Entry extends Advice {
  readonly aliases?: readonly string[];
  readonly meaning: string;
  readonly note?: string;
  readonly family?: string;
  readonly source: string;
}

export function reason(kind: Kind, codes: number | readonly number[], name: string, entry: Entry): ExitReason {
  const numbers = typeof codes === "number" ? [codes] : codes;
  return { kind, name, codes: numbers, aliases: [], note: "", family: "", ...entry };
}

/** For data files that list entries by number and name: `{ "10 CPUID": { ... } }`. */
export function reasons(kind: Kind, entries: Readonly<Record<string, Entry>>): ExitReason[] {
  return Object.entries(entries).map(([key, entry]) => {
    const [number, name] = key.split(" ") as [string, string];
    return reason(kind, Number(number), name, entry);
  });
}

/** An exception's names beside its vector: `PF_EXCP` as the kernel's tables have it ("PF excp"). */
export function exceptionAliases(mnemonic: string): string[] {
  if (mnemonic === "") return [];
  // The SIMD exception is XF to AMD and XM to Intel and the kernel.
  const names = mnemonic === "XF" ? ["XF", "XM"] : [mnemonic];
  return names.flatMap((name) => [`${name}_EXCP`, `EXCP_${name}`, `${name}_VECTOR`]);
}

/** `0x7b` for the processors', whose manuals count so; `48` for VMX and KVM, whose headers do. */
export function codeText(kind: Kind, code: number): string {
  return kind === "svm" || (kind === "pvm" && code > 0xffff) ? `0x${code.toString(16)}` : String(code);
}
