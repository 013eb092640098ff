import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { vmmFacts } from "./vmm.js";

const facts = (...args: string[]) => vmmFacts(args[0], args.map((arg) => `${arg}\0`).join(""));
const MIB = 2 ** 20;

describe("a VMM's command line", () => {
  it.each([
    [["/usr/bin/qemu-system-x86_64", "-name", "guest=web,debug-threads=on", "-m", "2G"], "QEMU", "web", 2048],
    [["/usr/bin/qemu-system-x86_64", "-m", "512", "-name", "web"], "QEMU", "web", 512],
    [["/usr/libexec/qemu-kvm", "-m", "size=4194304k,slots=16"], "QEMU", undefined, 4096],
    [["/usr/bin/qemu-system-x86_64 (deleted)"], "QEMU", undefined, undefined],
    [["/usr/bin/firecracker-v1.9.0-x86_64", "--id", "fc-1"], "Firecracker", "fc-1", undefined],
    [["/usr/bin/cloud-hypervisor", "--memory", "size=1G,shared=on"], "cloud-hypervisor", undefined, 1024],
    [["/usr/bin/crosvm", "run", "--mem=256", "--name", "c"], "crosvm", "c", 256],
    [["/usr/bin/lkvm", "run", "-m", "64M", "-n", "k"], "kvmtool", "k", 64],
    [["/usr/bin/node", "--enable-source-maps", "/opt/bin/vmm.js", "run", "--name", "demo"], "vmm", "demo", undefined],
    [["/usr/bin/node", "server.js"], "server.js", undefined, undefined],
    [["/opt/vbox"], "vbox", undefined, undefined],
    [["/usr/bin/qemu-system-x86_64", "-m", "lots", "-name"], "QEMU", undefined, undefined],
  ])("%j is %s %s", (args, vmm, name, mib) => {
    expect(facts(...args)).toEqual({ vmm, name, memoryBytes: mib === undefined ? undefined : mib * MIB });
  });

  it("may be anything: what comes out is printable and short, and a size is a size", () => {
    const word = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom("-m", "-name", "--name=", "-m=", "size=9999999999999999T", "guest=", "9".repeat(400), "\x1b[2J"),
    );
    fc.assert(
      fc.property(
        fc.constantFrom("/bin/qemu-kvm", "/bin/node", "/x/\x1b]0;", undefined),
        fc.array(word),
        (exe, words) => {
          const { vmm, name, memoryBytes } = vmmFacts(exe, words.join("\0"));
          expect(vmm).toMatch(/^[\x20-\x7e]*$/);
          expect(name ?? "x").toMatch(/^[\x20-\x7e]{1,64}$/);
          if (memoryBytes !== undefined) expect(Number.isSafeInteger(memoryBytes) && memoryBytes > 0).toBe(true);
        },
      ),
    );
  });
});
