/** Kernel modules as entries of an initramfs: unpacked, numbered in the order of insertion, with that order as a file. */
import { join } from "node:path";
import type { CpioEntry, KernelModule } from "@tools-kvm/firmware";
import { decompress } from "./decompress.js";
import { readModule } from "./kernels.js";

/** `modules/NN-NAME.ko` for each, and `modules/order` with a line `NAME FILE` for each. */
export function moduleEntries(directory: string | undefined, modules: readonly KernelModule[]): CpioEntry[] {
  const files = modules.map(({ name, path }, index) => {
    const source = join(directory!, path);
    return {
      name,
      file: `${String(index).padStart(2, "0")}-${name}.ko`,
      content: decompress(readModule(source), source),
    };
  });
  return [
    { kind: "directory", path: "modules" },
    ...files.map(({ file, content }) => ({ kind: "file" as const, path: `modules/${file}`, content })),
    {
      kind: "file",
      path: "modules/order",
      content: Buffer.from(files.map(({ name, file }) => `${name} ${file}\n`).join("")),
    },
  ];
}
