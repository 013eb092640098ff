/** `vmm run --firmware`: the guest is booted by a ROM, on this host's KVM. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { HANG_MS, hasKvm, NEEDS_KVM, Scratch, VMM } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import { seabiosPath } from "./firmware-option.js";
import { codeGuest, guestBy, POWER_OFF } from "./testing.js";

const scratch = new Scratch(VMM);
afterAll(() => scratch.close());
vi.setConfig({ testTimeout: 2 * HANG_MS });

/** `vmm run --firmware rom`, with what the ROM logs on stderr. */
const run = (...args: string[]) => scratch.run(["run", "--firmware", "rom", "--debug-console", "stderr", ...args]);

describe.skipIf(!hasKvm)(`a guest that the ROM boots${NEEDS_KVM}`, { concurrent: true }, () => {
  it.each(["multiboot", "PVH"] as const)("starts by %s and passes its self-test on two CPUs", async (protocol) => {
    const kernel = scratch.file(`${protocol}.elf`, guestBy(protocol));
    const { stdout, stderr, status } = await run(
      ...["--kernel", kernel, "--cpus", "2", "--append", "run=selftest; poweroff 3"],
    );
    expect(stdout).toMatch(new RegExp(`started by ${protocol}, 12[78] MiB of memory, 2 CPUs`));
    expect(stdout).toContain("selftest: PASS");
    expect(stderr).toMatch(new RegExp(`^rom: ${protocol} kernel entered, cycles since reset: \\d+\n`));
    expect(status).toBe(7);
  });

  it("is the embedded one when there is no other", async () => {
    const { stdout, status } = await run("--append", "quiet run=echo hello; poweroff");
    expect({ stdout, status }).toEqual({ stdout: "hello\r\n", status: 0 });
  });

  it("finds the tables where the memory map says, and nothing of the ROM's in the rest", async () => {
    const { stdout } = await run("--memory", "64M", "--append", "quiet run=mem; poweroff");
    expect(stdout).toMatch(/^000000100000-0000(\w{8}) +\d+ KiB usable\r\n0000\w{5}000-000003ffffff +\d+ KiB ACPI/m);
  });

  it("finds memory above 4 GiB too", async () => {
    const { stdout } = await run("--memory", "3584M", "--append", "quiet run=mem; poweroff");
    expect(stdout).toMatch(/000100000000-00011fffffff +524288 KiB usable/);
  });

  it("goes through the ROM again when it resets", async () => {
    const machine = scratch.start(["run", "--firmware", "rom", "--debug-console", "stderr", "--append", "quiet"], {
      keepsInput: true,
    });
    await machine.until("kvm> ");
    machine.type("reboot\r");
    await machine.until(/reboot\r\n(.*\r\n)*kvm> /);
    machine.type("poweroff\r");
    const { status, stderr } = await machine.ended;
    expect(stderr.match(/rom: PVH kernel entered/g)).toHaveLength(2);
    expect(status).toBe(0);
  });

  it("is a few bytes of code as well", async () => {
    const kernel = scratch.file("off.elf", codeGuest(POWER_OFF));
    expect(await run("--kernel", kernel)).toMatchObject({ status: 0, stdout: "" });
  });

  it("cannot change the ROM", async () => {
    // mov byte [0xfffffff0], 0x90; mov al, [0xfffffff0]; out 0xf4, al: status 2 * 0xe9 + 1, as a jump begins there.
    const poke = [0xc6, 0x05, 0xf0, 0xff, 0xff, 0xff, 0x90, 0xa0, 0xf0, 0xff, 0xff, 0xff, 0xe6, 0xf4, 0xf4];
    const kernel = scratch.file("poke.elf", codeGuest(poke));
    expect((await run("--kernel", kernel)).status).toBe((2 * 0xe9 + 1) & 0xff);
  });
});

const SECTOR_BYTES = 512;
/** A packet of int 13h's extensions (EDD 3.0, section 2.1): one sector of the disk, in memory at 0x7e00. */
const packet = (sector: number): number[] => [16, 0, 1, 0, 0x00, 0x7e, 0, 0, sector, 0, 0, 0, 0, 0, 0, 0];
/** Reads sector 1, adds one to its first byte, writes it to sector 2, and leaves with that byte. */
const BOOT_SECTOR = Uint8Array.from([
  ...[0x31, 0xc0, 0x8e, 0xd8], // xor ax, ax; mov ds, ax
  ...[0xb4, 0x42, 0xbe, 0x40, 0x7c, 0xcd, 0x13, 0x72, 19], // mov ah, 0x42; mov si, 0x7c40; int 0x13; jc 1f
  ...[0xfe, 0x06, 0x00, 0x7e], // inc byte [0x7e00]
  ...[0xb8, 0x00, 0x43, 0xbe, 0x50, 0x7c, 0xcd, 0x13, 0x72, 5], // mov ax, 0x4300; mov si, 0x7c50; int 0x13; jc 1f
  ...[0xa0, 0x00, 0x7e, 0xe6, 0xf4], // mov al, [0x7e00]; out 0xf4, al
  ...[0xb0, 0x00, 0xe6, 0xf4, 0xf4], // 1: mov al, 0; out 0xf4, al; hlt
  ...new Array(0x40 - 37).fill(0),
  ...packet(1),
  ...packet(2),
  ...new Array(510 - 0x60).fill(0),
  ...[0x55, 0xaa],
]);

const hasSeabios = ["/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/bios-256k.bin"].some((path) =>
  existsSync(path),
);
const why = !hasKvm ? NEEDS_KVM : hasSeabios ? "" : " (skipped: needs the package seabios)";

describe.skipIf(!hasKvm || !hasSeabios)(`SeaBIOS${why}`, () => {
  it("reaches its boot menu on the serial port, and knows the memory", async () => {
    const args = ["--firmware", "seabios", "--debug-console", `file:${scratch.path("log")}`, "--memory", "64M"];
    const machine = scratch.start(["run", "--name", "seabios", ...args], { keepsInput: true });
    await machine.until("Press ESC for boot menu.");
    machine.type("\x1b");
    await machine.until("Select boot device:");
    expect((await scratch.run(["stop", "--now", "seabios"])).status).toBe(0);
    const log = readFileSync(scratch.path("log"), "latin1");
    expect(log).toContain("QEMU fw_cfg DMA interface supported");
    expect(log).toContain("qemu/e820: addr 0x0000000000000000 len 0x0000000004000000 [RAM]");
    await machine.ended;
  });

  it.each(["multiboot", "PVH"] as const)("boots a kernel by %s, which passes its self-test", async (protocol) => {
    const kernel = scratch.file(`seabios-${protocol}.elf`, guestBy(protocol));
    const log = scratch.path(`seabios-${protocol}.log`);
    const { stdout, status } = await scratch.run([
      ...["run", "--firmware", "seabios", "--debug-console", `file:${log}`, "--kernel", kernel, "--cpus", "2"],
      ...["--append", "run=selftest; poweroff 3"],
    ]);
    expect(stdout).toMatch(new RegExp(`started by ${protocol}, 12[78] MiB of memory, 2 CPUs`));
    expect(stdout).toContain("selftest: PASS");
    expect(readFileSync(log, "latin1")).toMatch(
      new RegExp(`^rom: ${protocol} kernel entered, cycles since the BIOS: \\d+$`, "m"),
    );
    expect(status).toBe(7);
  });

  it("boots a disk's first sector when nobody asks for a kernel, which reads and writes sectors", async () => {
    const disk = scratch.path("bootable.img");
    const sectors = Buffer.alloc(1024 * 1024);
    sectors.set(BOOT_SECTOR);
    sectors[SECTOR_BYTES] = 20;
    writeFileSync(disk, sectors);
    const { stdout, status } = await scratch.run(["run", "--firmware", "seabios", "--disk", disk]);
    expect(stdout).toContain("Booting from Hard Disk");
    expect(status).toBe(2 * 21 + 1);
    const after = readFileSync(disk);
    expect(after[2 * SECTOR_BYTES]).toBe(21);
    expect(after.subarray(0, 2 * SECTOR_BYTES)).toEqual(sectors.subarray(0, 2 * SECTOR_BYTES));
  });
});

it("names the package when SeaBIOS is not installed", () => {
  expect(() => seabiosPath([scratch.path("none")])).toThrow("the package is named seabios");
});

const mistakes: [string, string][] = [
  [scratch.path("none"), "no such file or folder"],
  [scratch.folder, "not a file"],
  [scratch.file("short", new Uint8Array(1000)), "a ROM is 4 KiB to 8 MiB in steps of 4 KiB, and this has 1000 bytes"],
  [scratch.file("none-at-all", ""), "a ROM is 4 KiB to 8 MiB"],
  [scratch.file("long", new Uint8Array(9 * 2 ** 20)), "a ROM is 4 KiB to 8 MiB"],
];
describe.skipIf(!hasKvm)(`a file that is no ROM${NEEDS_KVM}`, { concurrent: true }, () => {
  it.each(mistakes)("is one line: %s", async (path, reason) => {
    const { status, stderr } = await scratch.run(["run", "--firmware", path]);
    expect(stderr.startsWith(`vmm: --firmware ${path}: ${reason}`)).toBe(true);
    expect(stderr.trimEnd()).not.toContain("\n");
    expect(status).toBe(2);
  });
});
