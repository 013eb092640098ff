/** `vmm run --firmware-vars`: a flash chip below the firmware, whose cells are a file that outlives the machine. */
import { readFileSync, statSync } from "node:fs";
import { HANG_MS, hasKvm, NEEDS_KVM, Scratch, VMM } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import { ovmfFiles } from "./firmware-option.js";
import { codeGuest } from "./testing.js";

const scratch = new Scratch(VMM);
afterAll(() => scratch.close());
vi.setConfig({ testTimeout: HANG_MS });

const CHIP_BYTES = 0x2_0000;
const ROM_BYTES = 0x1_0000;
const CHIP_BASE = 2 ** 32 - ROM_BYTES - CHIP_BYTES;

const u32 = (value: number) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
/** mov byte [cell], value */
const store = (cell: number, value: number) => [0xc6, 0x05, ...u32(CHIP_BASE + cell), value];
/** mov al, [cell]; out 0xf4, al: the status is twice the cell and one. */
const exitWith = (cell: number) => [0xa0, ...u32(CHIP_BASE + cell), 0xe6, 0xf4, 0xf4];
const statusOf = (value: number) => (2 * value + 1) & 0xff;

const PROGRAM = 0x10;
const READ_ARRAY = 0xff;
const ERASE = 0x20;
const CONFIRM = 0xd0;

const chip = (name: string, fill = 0xff) => scratch.file(name, new Uint8Array(CHIP_BYTES).fill(fill));
const guest = (name: string, ...code: number[]) => scratch.file(`${name}.elf`, codeGuest(code));
const run = (file: string, kernel: string) =>
  scratch.run(["run", "--firmware", "rom", "--firmware-vars", file, "--kernel", kernel]);

describe.skipIf(!hasKvm)(`firmware's variables${NEEDS_KVM}`, { concurrent: true }, () => {
  it("are read by the guest as memory, and written only by command", async () => {
    const file = chip("read", 0x21);
    const { status } = await run(file, guest("read", ...exitWith(7)));
    expect(status).toBe(statusOf(0x21));
    // Neither a byte that is no command nor what follows it changes a cell.
    await run(file, guest("plain", ...store(7, 0x99), ...store(8, 0x01), ...exitWith(7)));
    expect(readFileSync(file).every((byte) => byte === 0x21)).toBe(true);
  });

  it("are there in the next machine", async () => {
    const file = chip("kept");
    const write = [...store(0x123, PROGRAM), ...store(0x123, 0x2a), ...store(0x123, READ_ARRAY)];
    expect((await run(file, guest("write", ...write, ...exitWith(0x123)))).status).toBe(statusOf(0x2a));
    expect((await run(file, guest("again", ...exitWith(0x123)))).status).toBe(statusOf(0x2a));
    expect(statSync(file).size).toBe(CHIP_BYTES);
  });

  it("are erased a block at a time", async () => {
    const file = chip("erased", 0);
    const erase = [...store(0x1fff, ERASE), ...store(0x1fff, CONFIRM), ...store(0, READ_ARRAY)];
    expect((await run(file, guest("erase", ...erase, ...exitWith(0x1000)))).status).toBe(statusOf(0xff));
    const cells = readFileSync(file);
    expect([cells.indexOf(0xff), cells.lastIndexOf(0xff)]).toEqual([0x1000, 0x1fff]);
  });

  it("belong to one machine at a time", async () => {
    const file = chip("locked");
    const args = ["run", "--name", "holder", "--firmware", "rom", "--firmware-vars", file, "--append", "quiet"];
    const holder = scratch.start(args, { keepsInput: true });
    await holder.until("kvm> ");
    const { status, stderr } = await run(file, guest("other", ...exitWith(0)));
    expect(stderr).toBe(`vmm: --firmware-vars ${file}: ${file} is in use by another process\n`);
    expect(status).toBe(2);
    await scratch.run(["stop", "--now", "holder"]);
    await holder.ended;
  });

  it.each<[string, string]>([
    [scratch.path("nothing"), "no such file or folder"],
    [scratch.file("odd", new Uint8Array(1000)), "a flash chip is 4 KiB to 8 MiB in steps of 4 KiB, and this has 1000"],
    [scratch.file("eight", new Uint8Array(8 * 2 ** 20)), "with its firmware more than 8 MiB"],
    [scratch.folder, "a folder"],
  ])("are refused in one line: %s", async (file, reason) => {
    const { status, stderr } = await scratch.run(["run", "--firmware", "rom", "--firmware-vars", file]);
    expect(stderr.startsWith(`vmm: --firmware-vars ${file}: ${reason}`), stderr).toBe(true);
    expect(stderr.trimEnd()).not.toContain("\n");
    expect(status).toBe(2);
  });

  it("need a firmware", async () => {
    const { status, stderr } = await scratch.run(["run", "--firmware-vars", chip("alone")]);
    expect(stderr).toMatch(/^vmm: --firmware-vars .*: they are a firmware's; say which by --firmware\n$/);
    expect(status).toBe(2);
  });
});

it("names the package when OVMF is not installed", () => {
  expect(() => ovmfFiles([{ rom: scratch.path("no-rom"), variables: scratch.path("no-variables") }])).toThrow("ovmf");
});
