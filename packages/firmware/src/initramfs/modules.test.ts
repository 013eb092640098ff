import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { moduleName, parseModuleIndex, resolveModules } from "./modules.js";

const MODULES_DEP = `
kernel/arch/x86/kvm/kvm.ko: kernel/virt/lib/irqbypass.ko
kernel/arch/x86/kvm/kvm-amd.ko: kernel/drivers/crypto/ccp/ccp.ko kernel/arch/x86/kvm/kvm.ko kernel/virt/lib/irqbypass.ko
kernel/drivers/crypto/ccp/ccp.ko:
kernel/virt/lib/irqbypass.ko:
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz
kernel/net/9p/9pnet.ko.xz:
`;

describe("module names", () => {
  it("are the same with '-' and '_', with and without compression", () => {
    expect(moduleName("kernel/arch/x86/kvm/kvm-amd.ko")).toBe("kvm_amd");
    for (const ending of [".ko", ".ko.gz", ".ko.xz", ".ko.zst"]) expect(moduleName(`a/b/9p${ending}`)).toBe("9p");
    expect(moduleName("kvm-amd")).toBe("kvm_amd");
  });
});

describe("the order of modules", () => {
  const index = parseModuleIndex(MODULES_DEP, "kernel/fs/overlayfs/overlay.ko\n");

  it("puts dependencies first and loads each module once", () => {
    const { order, missing } = resolveModules(index, ["9p", "kvm-amd", "kvm"]);
    expect(order.map(({ name }) => name)).toEqual(["9pnet", "9p", "irqbypass", "kvm", "ccp", "kvm_amd"]);
    expect(missing).toEqual([]);
  });

  it("leaves out what is built in and names what does not exist", () => {
    expect(resolveModules(index, ["overlay", "tun"])).toEqual({ order: [], missing: ["tun"] });
  });

  it("names a dependency that is listed but has no line of its own", () => {
    const broken = parseModuleIndex("kernel/a.ko: kernel/b.ko\n", "");
    expect(resolveModules(broken, ["a"]).missing).toEqual(["b"]);
  });

  it("ends, with every module after its dependencies, for any graph without a cycle, and ends for one with", () => {
    const graph = fc.array(fc.array(fc.nat(14), { maxLength: 4 }), { minLength: 1, maxLength: 15 });
    fc.assert(
      fc.property(graph, fc.boolean(), (edges, acyclic) => {
        const targets = edges.map((list, from) => list.filter((to) => to < edges.length && (!acyclic || to < from)));
        const dep = targets.map((list, from) => `m${from}.ko: ${list.map((to) => `m${to}.ko`).join(" ")}`).join("\n");
        const { order } = resolveModules(
          parseModuleIndex(dep, ""),
          edges.map((_, from) => `m${from}`),
        );
        expect(new Set(order.map(({ name }) => name)).size).toBe(edges.length);
        if (!acyclic) return;
        const position = new Map(order.map(({ name }, at) => [name, at]));
        targets.forEach((list, from) => {
          for (const to of list) expect(position.get(`m${to}`)).toBeLessThan(position.get(`m${from}`)!);
        });
      }),
    );
  });
});
