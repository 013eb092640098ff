import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EndMarkFilter } from "./end-mark.js";

/** Few different bytes, so that beginnings of the mark that lead nowhere are frequent. */
const fewBytes = fc.uint8Array({ maxLength: 40, max: 2 }).map((bytes) => Buffer.from(bytes));

function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  let at = 0;
  for (const size of sizes) {
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return [...chunks, bytes.subarray(at)];
}

describe("the end mark of a stream", () => {
  it("is taken off, and nothing else, however the stream is cut", () => {
    const mark = fc.uint8Array({ minLength: 1, maxLength: 6, max: 2 }).map((bytes) => Buffer.from(bytes));
    fc.assert(
      fc.property(fewBytes, mark, fc.array(fc.nat(5)), (content, markBytes, sizes) => {
        // A mark is random and does not occur in what comes before it.
        fc.pre(Buffer.concat([content, markBytes]).indexOf(markBytes) === content.length);
        const filter = new EndMarkFilter(markBytes);
        const out = cut(Buffer.concat([content, markBytes]), sizes).map((chunk) => Buffer.from(filter.push(chunk)));
        expect(filter.ended).toBe(true);
        expect(Buffer.concat(out).equals(content)).toBe(true);
      }),
    );
  });

  it("that never comes loses nothing: flush gives what was held back", () => {
    const mark = Buffer.from([0, 1, 2, 0, 1]);
    fc.assert(
      fc.property(fewBytes, fc.array(fc.nat(5)), (content, sizes) => {
        fc.pre(content.indexOf(mark) < 0);
        const filter = new EndMarkFilter(mark);
        const out = cut(content, sizes).map((chunk) => Buffer.from(filter.push(chunk)));
        expect(filter.ended).toBe(false);
        expect(Buffer.concat([...out, filter.flush()]).equals(content)).toBe(true);
      }),
    );
  });
});
