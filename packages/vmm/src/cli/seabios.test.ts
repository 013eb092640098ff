/** `vmm run --firmware seabios`: SeaBIOS as distributions have it, on this host's KVM and in the lab. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { HANG_MS, hasKvm, NEEDS_KVM, Scratch, VMM } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import { guestBy } from "./testing.js";

const scratch = new Scratch(VMM);
afterAll(() => scratch.close());
vi.setConfig({ testTimeout: 2 * HANG_MS });

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

  it.each(["mmio", "pci"])(
    "boots a disk's first sector when nobody asks for a kernel, which reads and writes sectors, by %s",
    async (bus) => {
      const disk = scratch.path(`bootable-${bus}.img`);
      const sectors = Buffer.alloc(1024 * 1024);
      sectors.set(BOOT_SECTOR);
      sectors[SECTOR_BYTES] = 20;
      writeFileSync(disk, sectors);
      const { stdout, status } = await scratch.run(["run", "--firmware", "seabios", "--bus", bus, "--disk", disk]);
      expect(stdout).toContain("Booting from Hard Disk");
      expect(status).toBe(2 * 21 + 1);
      const after = readFileSync(disk);
      expect(after[2 * SECTOR_BYTES]).toBe(21);
      expect(after.subarray(0, 2 * SECTOR_BYTES)).toEqual(sectors.subarray(0, 2 * SECTOR_BYTES));
    },
  );
});
