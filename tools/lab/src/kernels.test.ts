import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LabError } from "./errors.js";
import { chooseKernel, compareVersions, hostKernelVersions } from "./kernels.js";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kernels-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function place(path: string, content = ""): string {
  const full = join(folder, path);
  mkdirSync(join(full, ".."), { recursive: true });
  writeFileSync(full, content);
  return full;
}

describe("the host's kernels", () => {
  it("are those that have both a file in /boot and modules, newest first", () => {
    for (const version of ["6.9.1", "6.10.0", "6.1.0-9", "6.1.0-13"]) {
      place(`boot/vmlinuz-${version}`);
      place(`modules/${version}/modules.dep`);
    }
    place("boot/vmlinuz-7.0.0");
    place("boot/System.map-6.9.1");
    expect(hostKernelVersions(join(folder, "boot"), join(folder, "modules"))).toEqual([
      "6.10.0",
      "6.9.1",
      "6.1.0-13",
      "6.1.0-9",
    ]);
    expect(hostKernelVersions(join(folder, "none"), join(folder, "none"))).toEqual([]);
  });

  it("compare by number, not by letter", () => {
    expect(compareVersions("6.10.0", "6.9.0")).toBeGreaterThan(0);
    expect(compareVersions("6.1.0-9-amd64", "6.1.0-13-amd64")).toBeLessThan(0);
  });
});

describe("a kernel that was asked for", () => {
  /** A bzImage as far as its header goes. */
  function kernelOf(version: string): string {
    const file = Buffer.alloc(4096);
    file.write("HdrS", 0x202, "latin1");
    file.writeUInt16LE(0x300 - 0x200, 0x20e);
    file.write(`${version} (a)\0`, 0x300, "latin1");
    return place(`vmlinuz-${version}`, file.toString("latin1"));
  }

  it("is refused in one line that names the option and what is wrong with its value", () => {
    const text = place("readme.txt", "no kernel");
    const kernel = kernelOf("6.99.0-none");
    const empty = join(folder, "empty");
    mkdirSync(empty);
    const cases: [Parameters<typeof chooseKernel>[0], RegExp][] = [
      [{ kernel: join(folder, "absent") }, /--kernel .*absent does not exist/],
      [{ kernel: folder }, /--kernel .* cannot be read/],
      [{ kernel: text }, /--kernel .*readme.txt is neither a bzImage nor a 64-bit ELF/],
      [{ kernel }, /--kernel .* \(6.99.0-none\) has no modules in \/lib\/modules: give --modules DIR/],
      [{ kernel, modules: join(folder, "absent") }, /--modules .*absent is not a directory/],
      [{ kernel, modules: empty }, /--modules .*empty holds no modules.dep/],
      [{ modules: empty }, /--modules says nothing without --kernel/],
    ];
    for (const [choice, message] of cases) {
      expect(() => chooseKernel(choice)).toThrow(message);
      expect(() => chooseKernel(choice)).toThrow(LabError);
    }
  });

  it("needs the modules the lab cannot do without, and of its own version", () => {
    const kernel = kernelOf("6.99.0");
    const modules = join(folder, "lib/modules/6.99.0");
    place("lib/modules/6.99.0/modules.dep", "kernel/9p.ko:\n");
    expect(() => chooseKernel({ kernel, modules: folder })).toThrow(/kernel 6.99.0 has no module .*kvm_amd/);

    place(
      "lib/modules/6.99.0/modules.builtin",
      ["virtio_pci", "virtio_console", "9pnet_virtio", "overlay", "kvm-amd"]
        .map((name) => `kernel/${name}.ko`)
        .join("\n"),
    );
    place("lib/modules/6.99.0/kernel/9p.ko", "vermagic=6.98.0 SMP");
    expect(() => chooseKernel({ kernel, modules })).toThrow(
      /the kernel is 6.99.0, but the modules in .* are of 6.98.0/,
    );

    place("lib/modules/6.99.0/kernel/9p.ko", "vermagic=6.99.0 SMP");
    expect(chooseKernel({ kernel, modules: folder })).toMatchObject({
      modulesDirectory: modules,
      modules: [{ name: "9p" }],
    });
    expect(chooseKernel({ kernel, modules: "none" })).toMatchObject({ modulesDirectory: undefined, modules: [] });
  });
});
