/**
 * Guest code stands in the test that runs it, as assembly in a template string. The build assembles all of it at once
 * (build.ts); a test finds its own by the text's hash. A snippet is one page at CODE; labels are numeric (`1:`, `1b`, `1f`).
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

export type Bits = 16 | 32 | 64;

/** Where every snippet lies and starts. */
export const CODE = 0x1000;
export const SNIPPET_BYTES = 4096;

export interface GuestCode {
  readonly bits: Bits;
  readonly text: string;
  readonly key: string;
}

/** The files the build leaves beside the bundle: pages of code, and which page is whose. */
export const CODE_FILE = new URL("guest-code.bin", import.meta.url);
export const INDEX_FILE = new URL("guest-code.json", import.meta.url);

const snippets = new Map<string, GuestCode>();

function snippet(bits: Bits) {
  return (strings: TemplateStringsArray, ...values: readonly (string | number)[]): GuestCode => {
    const text = String.raw(strings, ...values);
    const key = createHash("sha1").update(`${bits}${text}`).digest("hex").slice(0, 16);
    const code = { bits, text, key };
    snippets.set(key, code);
    return code;
  };
}

/** Real mode. Intel syntax; a memory operand at a constant address is written `ds:[0x5000]`. */
export const asm16 = snippet(16);
/** Flat 32-bit protected mode, no paging, CPL 0. */
export const asm32 = snippet(32);
/** Long mode, identity-mapped, CPL 0. */
export const asm64 = snippet(64);

/** Everything that was written with asm16, asm32 and asm64 so far: whatever stands at the top level of a loaded module. */
export function allSnippets(): readonly GuestCode[] {
  return [...snippets.values()];
}

let pages: Buffer | undefined;
let index: Record<string, number> = {};

/** The machine code of a snippet. @throws Error for one that the build did not see */
export function assembled(code: GuestCode): Uint8Array {
  if (pages === undefined) {
    pages = readFileSync(CODE_FILE);
    index = JSON.parse(readFileSync(INDEX_FILE, "utf8"));
  }
  const page = index[code.key];
  if (page === undefined) throw new Error(`the build did not see this guest code: ${code.text}`);
  return pages.subarray(page * SNIPPET_BYTES, (page + 1) * SNIPPET_BYTES);
}
