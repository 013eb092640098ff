import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { compareLocks, nodeModulesState } from "./node-modules.mjs";

const wanted = {
  packages: {
    "": {},
    "packages/vmm": { version: "0.1.0" },
    "node_modules/@tools-kvm/vmm": { resolved: "packages/vmm", link: true },
    "node_modules/a": { version: "1.0.0", resolved: "https://registry.npmjs.org/a/-/a-1.0.0.tgz" },
    "packages/vmm/node_modules/b": { version: "2.0.0" },
    "node_modules/for-another-system": { version: "1.0.0", optional: true },
  },
};
const { "": _root, "node_modules/for-another-system": _other, ...asInstalled } = wanted.packages;

describe("node_modules", () => {
  it("is ready when it holds what the lock file asks for, without what is for other systems", () => {
    expect(compareLocks(wanted, { packages: asInstalled })).toBe("ready");
  });

  it("is outdated when a package is missing, of another version, or no longer asked for", () => {
    const { "node_modules/a": _a, ...withoutA } = asInstalled;
    expect(compareLocks(wanted, { packages: withoutA })).toBe("outdated");
    const otherB = { ...asInstalled, "packages/vmm/node_modules/b": { version: "2.0.1" } };
    expect(compareLocks(wanted, { packages: otherB })).toBe("outdated");
    const more = { ...asInstalled, "node_modules/left-over": { version: "1.0.0" } };
    expect(compareLocks(wanted, { packages: more })).toBe("outdated");
  });

  it("is missing where npm has left no word of it", () => {
    expect(nodeModulesState("/nonexistent")).toBe("missing");
  });

  it("does not depend on the times of files: what npm wrote here compares as ready with itself", () => {
    const installed = JSON.parse(
      readFileSync(new URL("../../node_modules/.package-lock.json", import.meta.url), "utf8"),
    );
    expect(compareLocks(installed, installed)).toBe("ready");
  });
});
