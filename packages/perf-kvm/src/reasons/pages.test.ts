import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { KINDS } from "./catalogue.js";
import { reasonPage } from "./pages.js";

const page = (kind: string): string => fileURLToPath(new URL(`../../../../docs/exits/${kind}.md`, import.meta.url));

/** `npm run generate -w @tools-kvm/perf-kvm` runs this with --update, which writes the pages. */
describe("docs/exits", () => {
  it.each(KINDS)("has %s.md as its data say", async (kind) => {
    await expect(reasonPage(kind)).toMatchFileSnapshot(page(kind));
  });
});
