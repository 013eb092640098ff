import { spawnSync } from "node:child_process";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { kvmKind } from "../machine/host.js";

const VMM = resolve(import.meta.dirname, "../../bin/vmm.js");

function sandbox(...words: string[]) {
  const { status, stdout, stderr } = spawnSync("node", [VMM, "sandbox", ...words], { encoding: "utf8", input: "" });
  return { status, stdout, stderr };
}

// What it does on a host that can is shown in the lab: tools/lab/suite/linux-sandbox.mjs.
describe("vmm sandbox", () => {
  it.each([
    [["--share", "/no/such"], "--share /no/such: /no/such: no such file or folder"],
    [["--share", "/x=/etc/passwd,ro"], "--share /x=/etc/passwd,ro: /etc/passwd: not a folder"],
    [["--share", "/=/tmp"], "--share /=/tmp: the root is there already, and cannot be written"],
    [Array(20).fill(["--share", "/tmp"]).flat(), "--share: 20 folders, and a machine has no room for so many"],
  ])("refuses what makes no sense with one line: %#", (words, line) => {
    expect(sandbox(...words, "--", "true")).toEqual({ status: 2, stdout: "", stderr: `vmm: ${line}\n` });
  });

  it.runIf(kvmKind() === "pvm")("says where Linux does not boot (needs kvm-pvm)", () => {
    expect(sandbox("--", "true")).toEqual({
      status: 125,
      stdout: "",
      stderr: "vmm: sandbox: Linux does not boot on this host's KVM (kvm-pvm); vmm doctor says more\n",
    });
  });
});
