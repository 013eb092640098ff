/**
 * From reset to a kernel's first instruction: a multiboot image whose first instruction ends the machine, started by
 * firmware. Our ROM counts the TSC's cycles itself. SeaBIOS and qboot do not, so their processes are timed, less the process with
 * a ROM whose own first instruction ends the machine.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { romPath } from "@tools-kvm/firmware";
import { type Bench, BenchError, type Case } from "../bench.js";
import { missingQemu, qemuDebugConsole, qemuFirmware, vmmRun } from "../commands.js";
import type { Programs } from "../programs.js";
import { tscKhz } from "../tsc.js";

/** mov al, 1; out 0xf4, al; hlt: the same in real mode as in protected mode. */
const END_MACHINE = [0xb0, 0x01, 0xe6, 0xf4, 0xf4];
const ENDED = { exitCodes: [3] };

const ROM_BYTES = 64 * 1024;
const RESET_VECTOR = 0xfff0;

const LOAD_ADDRESS = 2 ** 20;
const MULTIBOOT_MAGIC = 0x1badb002;
const MULTIBOOT_ADDRESSES = 1 << 16;
const MULTIBOOT_HEADER_BYTES = 32;

export const firmware: Bench = {
  name: "firmware",
  summary: "from reset to a kernel's first instruction: our ROM, and SeaBIOS and qboot in QEMU",
  runs: { full: 21, quick: 3 },
  cases({ programs }) {
    const files = writeFiles(programs.folder);
    const cyclesPerMs = tscKhz();
    const ours = async (command: readonly string[]): Promise<number> => {
      await programs.run(command, ENDED);
      return cyclesOf(readFileSync(files.log, "latin1")) / cyclesPerMs;
    };
    const peer = (name: string, machine: "pc" | "microvm") =>
      missingQemu() ?? {
        name: `${name} in qemu-system-x86_64 -M ${machine} -enable-kvm`,
        measure: () =>
          less(
            programs,
            qemuFirmware(machine, files.kernel),
            qemuFirmware(machine, files.kernel, "-bios", files.nullRom),
          ),
      };
    const seabios = peer("SeaBIOS", "pc");
    const qboot = peer("qboot", "microvm");
    const inVmm = vmmRun("--firmware", "rom", "--kernel", files.kernel, "--debug-console", `file:${files.log}`);
    const inQemu = (machine: "pc" | "microvm") =>
      qemuFirmware(machine, files.kernel, "-bios", romPath(), ...qemuDebugConsole(files.log));
    const cases: Case[] = [{ name: "our ROM in vmm run", unit: "ms", ours: () => ours(inVmm), peer: seabios }];
    if (missingQemu() !== undefined) return cases;
    return [
      ...cases,
      { name: "our ROM in QEMU's pc", unit: "ms", ours: () => ours(inQemu("pc")), peer: seabios },
      { name: "our ROM in QEMU's microvm", unit: "ms", ours: () => ours(inQemu("microvm")), peer: qboot },
    ];
  },
};

/** From the line that the ROM ends with. */
function cyclesOf(log: string): number {
  const cycles = /cycles since reset: (\d+)/.exec(log)?.[1];
  if (cycles === undefined) throw new BenchError(`the ROM said ${JSON.stringify(log)}`);
  return Number(cycles);
}

/** One program's time less the other's, which runs right after it. */
async function less(programs: Programs, whole: readonly string[], around: readonly string[]): Promise<number> {
  const { elapsedMs } = await programs.run(whole, ENDED);
  return elapsedMs - (await programs.run(around, ENDED)).elapsedMs;
}

function writeFiles(folder: string) {
  const files = { nullRom: join(folder, "null.rom"), kernel: join(folder, "kernel.bin"), log: join(folder, "rom.log") };
  const rom = Buffer.alloc(ROM_BYTES, 0xff);
  rom.set(END_MACHINE, RESET_VECTOR);
  writeFileSync(files.nullRom, rom);
  writeFileSync(files.kernel, multibootImage(END_MACHINE));
  return files;
}

/** An image without a file format: the header says where it goes (Multiboot 0.6.96, 3.1.3). */
function multibootImage(code: readonly number[]): Buffer {
  const image = Buffer.alloc(MULTIBOOT_HEADER_BYTES + code.length);
  const fields = [
    ...[MULTIBOOT_MAGIC, MULTIBOOT_ADDRESSES, 2 ** 32 - MULTIBOOT_MAGIC - MULTIBOOT_ADDRESSES],
    // header_addr, load_addr, load_end_addr, bss_end_addr and entry_addr.
    ...[LOAD_ADDRESS, LOAD_ADDRESS, LOAD_ADDRESS + image.length, 0, LOAD_ADDRESS + MULTIBOOT_HEADER_BYTES],
  ];
  fields.forEach((value, index) => {
    image.writeUInt32LE(value, 4 * index);
  });
  image.set(code, MULTIBOOT_HEADER_BYTES);
  return image;
}
