/** `vmm run --firmware`: the guest is booted by a ROM, on this host's KVM. */
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

  it.each(["mmio", "pci"])("goes through the ROM again when it resets, with devices by %s", async (bus) => {
    const args = ["run", "--firmware", "rom", "--debug-console", "stderr", "--append", "quiet", "--bus", bus, "--rng"];
    const machine = scratch.start(args, { keepsInput: true });
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
