/**
 * Boots the guest on QEMU's machines, without KVM. They lack our own devices, which the guest has to cope with.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { EMBEDDED_GUEST_PROMPT, EXIT_KINDS, embeddedGuestPath } from "./embedded-guest.js";

const QEMU = "qemu-system-x86_64";
const missing = spawnSync(QEMU, ["--version"]).error !== undefined;
const why = missing ? ` (skipped: no ${QEMU})` : "";

const scratch = mkdtempSync(join(tmpdir(), "embedded-guest-"));
afterAll(() => rmSync(scratch, { recursive: true }));

/** QEMU prefers Multiboot. Without the header's magic number it finds the PVH note. */
function withoutMultibootHeader(): string {
  const bytes = readFileSync(embeddedGuestPath());
  bytes.writeUInt32LE(0, bytes.indexOf(Buffer.from([0x02, 0xb0, 0xad, 0x1b])));
  const path = join(scratch, "pvh.elf");
  writeFileSync(path, bytes);
  return path;
}
const images = { multiboot: embeddedGuestPath(), PVH: withoutMultibootHeader() };

interface Boot {
  readonly commandLine: string;
  readonly machine?: string;
  readonly cpus?: number;
  readonly image?: string;
  /** What to type, each text when the prompt appears. */
  readonly typed?: string[];
  /** Further options of QEMU's. */
  readonly options?: readonly string[];
}

/** Runs the guest to its end: what it printed, as lines, and QEMU's exit status. */
async function boot(wanted: Boot) {
  const { commandLine, machine = "q35", cpus = 1, image = images.multiboot, typed = [], options = [] } = wanted;
  const qemu = spawn(QEMU, [
    ...["-M", machine, "-accel", "tcg", "-smp", `${cpus}`, "-m", "64", "-display", "none", "-serial", "stdio"],
    ...["-nodefaults", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"],
    ...["-kernel", image, "-append", commandLine, ...options],
  ]);
  const waiting = [...typed];
  let [output, seen] = ["", 0];
  qemu.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString("latin1");
    const prompt = output.indexOf(EMBEDDED_GUEST_PROMPT, seen);
    if (prompt < 0) return;
    seen = prompt + EMBEDDED_GUEST_PROMPT.length;
    qemu.stdin.write(waiting.shift() ?? "");
  });
  const status = await new Promise<number | null>((resolve) => qemu.on("close", resolve));
  return { lines: output.split("\r\n"), status };
}

/** The microvm has no ACPI registers at these ports, so the guest ends by the debug-exit port. */
const machines = [
  { machine: "pc", off: 0 },
  { machine: "q35", off: 0 },
  { machine: "microvm,isa-serial=on", off: 1 },
];
const routes = Object.entries(images).map(([route, image]) => ({ route, image }));

describe.skipIf(missing)(`the embedded guest in QEMU${why}`, () => {
  describe.each(machines)("on $machine", ({ machine, off }) => {
    it.each(routes)("boots by $route, finds four CPUs and passes its self-test", async ({ route, image }) => {
      const { lines, status } = await boot({ machine, image, cpus: 4, commandLine: "run=selftest; poweroff" });
      expect(lines[0]).toMatch(new RegExp(`^tools-kvm guest \\S+, started by ${route}, 6[34] MiB of memory, 4 CPUs$`));
      expect(lines[1]).toMatch(off === 0 ? /^ready in \d+\.\d ms$/ : /^ready$/);
      expect(lines).toContain("1..20");
      expect(lines.filter((line) => line.startsWith("not ok"))).toEqual([]);
      expect(lines).toContain("selftest: PASS (20 tests)");
      expect(status).toBe(off);
    });
  });

  it("says hello from each CPU in order, as often as it is asked", async () => {
    const { lines } = await boot({ cpus: 3, commandLine: "quiet run=smp; smp; poweroff" });
    const hellos = [0, 1, 2].map((id) => `hello from the CPU with APIC id ${id}`);
    expect(lines).toEqual([...hellos, "smp: 3 CPUs", ...hellos, "smp: 3 CPUs", ""]);
  });

  it("reports each kind of exit with its count and time, or that it needs the exerciser", async () => {
    const commands = EXIT_KINDS.map((kind) => `exits ${kind} 100`);
    const { lines } = await boot({ commandLine: `quiet run=${commands.join(";")}; poweroff` });
    for (const kind of EXIT_KINDS) {
      const report = ["coalesced", "ioeventfd"].includes(kind)
        ? `exits: ${kind} needs the exerciser, which this machine lacks`
        : expect.stringMatching(new RegExp(`^exits: ${kind} 100 in \\d+\\.\\d ms \\(\\d+\\.\\d us each\\)$`));
      expect(lines).toContainEqual(report);
    }
  });

  it("makes the exits on all CPUs at once", async () => {
    const { lines } = await boot({ cpus: 2, commandLine: "quiet run=exits pio 100 all; poweroff" });
    expect(lines[0]).toMatch(/^exits: pio 100 on each of 2 CPUs in \d+\.\d ms \(\d+\.\d us each\)$/);
  });

  it("drives the virtio devices of a microvm", async () => {
    const disk = join(scratch, "disk.raw");
    writeFileSync(disk, Buffer.alloc(2 ** 20));
    const list = [
      "blk randread 4096 8 100",
      "blk write 512 1 3",
      "blk flush 512 1 2",
      "net send 60 4 50",
      "net echo 2 20",
    ];
    const { lines } = await boot({
      machine: "microvm,isa-serial=on",
      commandLine: `quiet run=${list.join("; ")}; poweroff 1`,
      options: [
        ...["-global", "virtio-mmio.force-legacy=false", "-device", "virtio-blk-device,drive=disk"],
        ...["-drive", `file=${disk},format=raw,if=none,id=disk`],
        ...["-netdev", "user,id=net,net=10.99.0.0/24,host=10.99.0.1", "-device", "virtio-net-device,netdev=net"],
      ],
    });
    const withoutMeasurements = lines.map((line) => line.replace(/ (kicks|cycles)=\d+/g, ""));
    expect(withoutMeasurements).toEqual([
      "blk: kind=randread bytes=4096 depth=8 requests=100 errors=0",
      "blk: kind=write bytes=512 depth=1 requests=3 errors=0",
      "blk: kind=flush bytes=512 depth=1 requests=2 errors=0",
      "net: kind=send bytes=60 depth=4 sent=50 answered=0 link=up",
      "net: kind=echo bytes=42 depth=2 sent=20 answered=20 link=up",
      "",
    ]);
  });

  it("says what is wrong with what it is asked of devices, or that there are none", async () => {
    const list = ["blk", "blk read 512 1 1", "blk read 1048576 9 1", "net hear", "net status", "net echo 1 1"];
    const { lines } = await boot({ commandLine: `quiet run=${list.join("; ")}; poweroff` });
    const usages = [
      "usage: blk KIND BYTES DEPTH COUNT, KIND one of read randread write randwrite flush, DEPTH up to 64, BYTES * DEPTH up to 8388608",
      "usage: net status, net send BYTES DEPTH COUNT, net echo DEPTH COUNT; DEPTH up to 64",
    ];
    const [none, noneEither] = ["blk: no block device here", "net: no network device here"];
    expect(lines).toEqual([usages[0], none, usages[0], usages[1], noneEither, noneEither, ""]);
  });

  it("prints nothing when all it has to do is to power off", async () => {
    expect(await boot({ commandLine: "run=poweroff" })).toEqual({ lines: [""], status: 0 });
  });

  it("ends with the status (code << 1) | 1 when it is given a code", async () => {
    expect((await boot({ commandLine: "quiet run=poweroff 5" })).status).toBe(11);
  });

  it("reports an exception with the registers and ends with code 127", async () => {
    const { lines, status } = await boot({ commandLine: "quiet run=fault ud" });
    expect(lines).toContain("exception 6 (#UD invalid opcode) on the CPU with APIC id 0");
    expect(lines).toContainEqual(expect.stringMatching(/^error 0 {2}cs 10 {2}rip 00000000001\w{5} /));
    expect(status).toBe(255);
  });

  it("resets the machine on reboot and on a triple fault", async () => {
    expect((await boot({ commandLine: "quiet run=reboot" })).status).toBe(0);
    expect((await boot({ commandLine: "quiet run=fault triple" })).status).toBe(0);
  });

  it("edits a line, remembers it, and answers what it does not know with a hint", async () => {
    const [left, up] = ["\x1b[D", "\x1b[A"];
    const typed = [
      `echo helo${left}l\r`,
      "nonsense\x15ecko\x7f\x7fho one two\x17three\r",
      "half\x03",
      `${up}\r`,
      "what\r",
      "poweroff 2\r",
    ];
    const { lines, status } = await boot({ commandLine: "quiet", typed });
    expect(lines.filter((line) => !line.includes(EMBEDDED_GUEST_PROMPT.trim()))).toEqual([
      "hello",
      "one three",
      "one three",
      "what: unknown command, try help",
      "",
    ]);
    expect(status).toBe(5);
  });
});
