/** The lab's copy of QEMU's emulation: made where it is needed, and nowhere else. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { mend, mendedModuleFolder } from "./qemu-module.js";

const folder = mkdtempSync(join(tmpdir(), "qemu-module-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const strings = (...names: string[]) => Buffer.from(`code\0${names.join("\0")}\0data`);

it("names another function, and leaves every other byte", () => {
  const before = strings("cpu_exec", "qemu_mutex_iothread_locked", "abort");
  const after = mend(before)!;
  expect(after).toHaveLength(before.length);
  expect(after.toString().replaceAll("\0", " ").replace(/ +/g, " ")).toBe("code cpu_exec qnull_is_equal abort data");
  expect(after.subarray(0, 14)).toEqual(before.subarray(0, 14));
  expect(after.subarray(-11)).toEqual(before.subarray(-11));
});

it("leaves alone what has no such name, or several", () => {
  expect(mend(strings("bql_locked"))).toBeUndefined();
  expect(mend(strings("my_qemu_mutex_iothread_locked"))).toBeUndefined();
  expect(mend(strings("qemu_mutex_iothread_locked", "a", "qemu_mutex_iothread_locked"))).toBeUndefined();
});

it("keeps the copy where QEMU finds it", () => {
  const modules = join(folder, "modules");
  mkdirSync(modules);
  expect(mendedModuleFolder([modules])).toBeUndefined();
  writeFileSync(join(modules, "accel-tcg-x86_64.so"), strings("qemu_mutex_iothread_locked"));
  const found = mendedModuleFolder([join(folder, "none"), modules])!;
  expect(readFileSync(join(found, "accel-tcg-x86_64.so"))).toEqual(mend(strings("qemu_mutex_iothread_locked")));
  rmSync(found, { recursive: true });
});
