import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ACTION_NAMES, ActionError, checkAllowed, parseAction } from "./actions.js";

describe("a request", () => {
  it.each(ACTION_NAMES.filter((name) => name !== "resize"))("of %s is understood", (action) => {
    expect(parseAction({ action, more: "is not looked at" })).toEqual({ action });
  });

  it("to resize the console says how large it is", () => {
    const size = { columns: 132, rows: 0xffff };
    expect(parseAction({ action: "resize", ...size })).toEqual({ action: "resize", ...size });
    for (const columns of [undefined, -1, 0x1_0000, 1.5, "80", null, Number.NaN])
      expect(() => parseAction({ action: "resize", ...size, columns })).toThrow("whole numbers up to 65535");
  });

  it("of anything else is refused in one line that lists the actions, and nothing but ActionError is thrown", () => {
    const values = fc.oneof(
      fc.anything({ withBigInt: true, withNullPrototype: true }),
      fc.anything({ withBigInt: true }).map((action) => ({ action })),
      fc.string().map((action) => ({ action })),
    );
    fc.assert(
      fc.property(values, (value) => {
        try {
          expect(ACTION_NAMES).toContain(parseAction(value).action);
        } catch (error) {
          expect(error).toBeInstanceOf(ActionError);
          expect((error as Error).message).toMatch(/^no such action: .*; there are status, pause, .*attach$/);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("is not repeated at length when it is refused", () => {
    expect(() => parseAction({ action: "x".repeat(60_000) })).toThrow(/^.{0,200}$/);
  });

  it("of a balloon carries its size, in whole pages or not at all", () => {
    expect(parseAction({ action: "balloon", sizeBytes: 8192, more: 1 })).toEqual({
      action: "balloon",
      sizeBytes: 8192,
    });
    fc.assert(
      fc.property(fc.anything({ withBigInt: true }), (sizeBytes) => {
        try {
          const { sizeBytes: taken = 0 } = parseAction({ action: "balloon", sizeBytes }) as { sizeBytes?: number };
          expect(taken % 4096).toBe(0);
        } catch (error) {
          expect(error).toBeInstanceOf(ActionError);
        }
      }),
    );
    for (const sizeBytes of [-4096, 100, 2 ** 60, "4096", null, 1.5])
      expect(() => parseAction({ action: "balloon", sizeBytes })).toThrow(/whole number of pages/);
  });

  it("that a phase does not allow is refused with the phases that do", () => {
    expect(() => checkAllowed({ action: "resume" }, "running")).toThrow(
      "cannot resume a machine that is running; it has to be paused",
    );
    expect(() => checkAllowed({ action: "registers" }, "starting")).toThrow(/running or paused/);
    for (const action of ["status", "exits", "devices"] as const) checkAllowed({ action }, "ended");
  });
});
