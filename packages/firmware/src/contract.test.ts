import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { EMBEDDED_GUEST_PROMPT, EXIT_KINDS } from "./embedded-guest.js";
import { EXERCISER_BASE, EXERCISER_ID, EXERCISER_MSR, EXERCISER_REGISTER } from "./exerciser.js";

const source = (path: string) => readFileSync(new URL(`../guest/${path}`, import.meta.url), "utf8");

/** Every `#define NAME number` of a header. */
function defines(header: string): Record<string, number> {
  const found = header.matchAll(/^#define (\w+) (0x[0-9a-f]+|\d+)$/gm);
  return Object.fromEntries([...found].map(([, name, value]) => [name, Number(value)]));
}

describe("what TypeScript says of the guest", () => {
  it("is the exerciser of guest/machine/exerciser.h", () => {
    const registers = Object.entries(EXERCISER_REGISTER).map(([name, offset]) => [`EXERCISER_${name}_OFFSET`, offset]);
    expect(defines(source("machine/exerciser.h"))).toEqual({
      EXERCISER_BASE,
      EXERCISER_ID,
      EXERCISER_MSR,
      ...Object.fromEntries(registers),
    });
  });

  it("is the kinds of exit of guest/commands/exits.c", () => {
    const table = [...source("commands/exits.c").matchAll(/^\t\{ "([\w-]+)", \w+_loop, /gm)];
    expect(table.map(([, name]) => name)).toEqual([...EXIT_KINDS]);
  });

  it("is the prompt of guest/main.c", () => {
    expect(source("main.c")).toContain(`#define PROMPT "${EMBEDDED_GUEST_PROMPT}"`);
  });
});
