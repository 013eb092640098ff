import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { E820, type E820Entry } from "../machine/memory-map.js";
import { BootError } from "./errors.js";
import { type KernelImage, parseKernel } from "./kernel-image.js";
import { type BootModule, type FlatEntry, loadKernel } from "./load.js";
import { buildElf, bytesOf, FakeRam, multibootHeader, pvhNote } from "./testing.js";

const KIB = 1024;
const MIB = 2 ** 20;

const code = Uint8Array.from([...multibootHeader(0x3), ...bytesOf("the kernel")]);
const segment = { gpa: 4 * MIB, bytes: code, memorySizeBytes: 64 * KIB };
const multiboot = parseKernel(buildElf({ entry: 4 * MIB + 12, segments: [segment] }), "/some where/apic test.flat");
const pvh = parseKernel(buildElf({ segments: [segment, pvhNote(4 * MIB + 12)] }), "vmlinux");

function load(
  image: KernelImage,
  { memory = new FakeRam(16 * MIB), commandLine = "", modules = [] as BootModule[] } = {},
) {
  const entry = loadKernel({ image, commandLine, modules, memory, memoryMap: memory.memoryMap }) as FlatEntry;
  return { memory, entry };
}

it("loads each segment and zeroes what the file does not fill", () => {
  const { memory } = load(pvh);
  expect(memory.bytes.subarray(4 * MIB, 4 * MIB + code.length)).toEqual(code);
  expect(memory.bytes.subarray(4 * MIB + code.length, 4 * MIB + 64 * KIB).every((byte) => byte === 0)).toBe(true);
  expect(memory.bytes[4 * MIB + 64 * KIB]).toBe(0xcc);
});

describe("multiboot", () => {
  it("enters with the magic in EAX and the information structure in EBX", () => {
    const { entry } = load(multiboot);
    expect(entry).toMatchObject({ protocol: "multiboot", rip: 4 * MIB + 12, eax: 0x2badb002 });
    expect(entry.ebx).toBeGreaterThanOrEqual(4 * KIB);
    expect(entry.ebx).toBeLessThan(640 * KIB);
  });

  it("tells the sizes of memory in KiB, below 640 KiB and from 1 MiB on", () => {
    const { memory, entry } = load(multiboot);
    expect(memory.u32(entry.ebx) & 1).toBe(1);
    expect(memory.u32(entry.ebx + 4)).toBe(0x9_fc00 / KIB);
    expect(memory.u32(entry.ebx + 8)).toBe(15 * KIB);
  });

  it("puts the kernel's own name first on the command line, as one word", () => {
    const { memory, entry } = load(multiboot, { commandLine: "a=1 b" });
    expect(memory.u32(entry.ebx) & 4).toBe(4);
    expect(memory.string(memory.u32(entry.ebx + 16))).toBe("apic_test.flat a=1 b");
    const bare = load(multiboot);
    expect(bare.memory.string(bare.memory.u32(bare.entry.ebx + 16))).toBe("apic_test.flat");
  });

  it("hands over modules with their strings, on pages of their own", () => {
    const modules = [
      { bytes: bytesOf("NR_CPUS=2\nMEMSIZE=16\n"), commandLine: "env first" },
      { bytes: bytesOf("second"), commandLine: "" },
    ];
    const { memory, entry } = load(multiboot, { modules });
    expect(memory.u32(entry.ebx) & 8).toBe(8);
    expect(memory.u32(entry.ebx + 20)).toBe(2);
    const table = memory.u32(entry.ebx + 24);
    modules.forEach(({ bytes, commandLine }, index) => {
      const start = memory.u32(table + 16 * index);
      expect(start % 4096).toBe(0);
      expect(memory.u32(table + 16 * index + 4)).toBe(start + bytes.length);
      expect(memory.bytes.subarray(start, start + bytes.length)).toEqual(bytes);
      expect(memory.string(memory.u32(table + 16 * index + 8))).toBe(commandLine);
    });
    expect(memory.u32(table)).toBe(4 * MIB + 64 * KIB);
  });

  it("describes all memory in the map", () => {
    const { memory, entry } = load(multiboot);
    expect(memory.u32(entry.ebx) & 0x40).toBe(0x40);
    const at = memory.u32(entry.ebx + 48);
    const count = memory.u32(entry.ebx + 44) / 24;
    const entries = Array.from({ length: count }, (_, i) => ({
      addr: memory.u64(at + 24 * i + 4),
      size: memory.u64(at + 24 * i + 12),
      type: memory.u32(at + 24 * i + 20),
    }));
    expect(memory.u32(at)).toBe(20);
    expect(entries).toEqual(memory.memoryMap);
  });

  it("names the boot loader", () => {
    const { memory, entry } = load(multiboot);
    expect(memory.u32(entry.ebx) & 0x200).toBe(0x200);
    expect(memory.string(memory.u32(entry.ebx + 64))).toBe("tools-kvm");
  });
});

describe("PVH", () => {
  it("enters with the start info in EBX", () => {
    const { memory, entry } = load(pvh);
    expect(entry).toMatchObject({ protocol: "pvh", rip: 4 * MIB + 12, eax: 0 });
    expect(memory.u32(entry.ebx)).toBe(0x336ec578);
    expect(memory.u32(entry.ebx + 4)).toBe(1);
  });

  it("passes the command line as it was given", () => {
    const { memory, entry } = load(pvh, { commandLine: "console=ttyS0 grüße" });
    expect(memory.string(memory.u64(entry.ebx + 24))).toBe("console=ttyS0 grüße");
  });

  it("lists modules and memory", () => {
    const modules = [{ bytes: bytesOf("initrd"), commandLine: "root" }];
    const { memory, entry } = load(pvh, { modules });
    expect(memory.u32(entry.ebx + 12)).toBe(1);
    const list = memory.u64(entry.ebx + 16);
    const start = memory.u64(list);
    expect(memory.string(memory.u64(list + 16))).toBe("root");
    expect(memory.u64(list + 8)).toBe(6);
    expect(memory.bytes.subarray(start, start + 6)).toEqual(bytesOf("initrd"));
    const map = memory.u64(entry.ebx + 40);
    const entries = Array.from({ length: memory.u32(entry.ebx + 48) }, (_, i) => ({
      addr: memory.u64(map + 24 * i),
      size: memory.u64(map + 24 * i + 8),
      type: memory.u32(map + 24 * i + 16),
    }));
    expect(entries).toEqual(memory.memoryMap);
  });

  it("has no addresses for what there is none of", () => {
    const { memory, entry } = load(pvh, { modules: [] });
    expect(memory.u64(entry.ebx + 16)).toBe(0);
    expect(memory.u64(entry.ebx + 32)).toBe(0);
  });

  it("passes on the ACPI root pointer", () => {
    const memory = new FakeRam(16 * MIB);
    const { memoryMap } = memory;
    const entry = loadKernel({
      image: pvh,
      commandLine: "",
      modules: [],
      memory,
      memoryMap,
      rsdp: 0xf_0000,
    }) as FlatEntry;
    expect(memory.u64(entry.ebx + 32)).toBe(0xf_0000);
  });
});

describe("what does not fit is refused with its size, before anything is written", () => {
  const refused = (image: KernelImage, options: Parameters<typeof load>[1], reason: RegExp) => {
    const memory = options?.memory ?? new FakeRam(16 * MIB);
    expect(() => load(image, { ...options, memory })).toThrow(BootError);
    expect(() => load(image, { ...options, memory })).toThrow(reason);
    expect(memory.written).toEqual([]);
  };
  const kernelAt = (gpa: number, memorySizeBytes = 64 * KIB): KernelImage =>
    parseKernel(buildElf({ segments: [{ gpa, bytes: code, memorySizeBytes }, pvhNote(gpa + 12)] }), "k");

  it("a kernel beyond the end of memory", () => {
    refused(pvh, { memory: new FakeRam(4 * MIB) }, /vmlinux: the kernel needs 64 KiB at 0x400000.* in 4 MiB of memory/);
  });
  it("a kernel whose bss reaches beyond the end of memory", () => {
    refused(kernelAt(MIB, 16 * MIB), {}, /needs 16 MiB at 0x100000/);
  });
  it("a kernel in the legacy hole, or on real mode's vectors", () => {
    refused(kernelAt(0xb_0000), {}, /at 0xb0000/);
    refused(kernelAt(0x9_8000), {}, /at 0x98000/);
    refused(kernelAt(0), {}, /at 0x0/);
  });
  it("a module larger than what is left", () => {
    const modules = [{ bytes: new Uint8Array(12 * MIB), commandLine: "" }];
    refused(pvh, { modules }, /no room for module 1 \(12 MiB\) in 16 MiB of memory/);
  });
  it("a command line larger than what is left", () => {
    refused(pvh, { commandLine: "x".repeat(14 * MIB) }, /no room for the boot information \(14 MiB\)/);
  });
});

it("puts a module below a kernel that leaves no room above itself", () => {
  const image = parseKernel(
    buildElf({ segments: [{ gpa: 14 * MIB, bytes: code, memorySizeBytes: 2 * MIB }, pvhNote(14 * MIB + 12)] }),
    "k",
  );
  const { memory } = load(image, { modules: [{ bytes: bytesOf("module"), commandLine: "" }] });
  expect(memory.bytes.subarray(MIB, MIB + 6)).toEqual(bytesOf("module"));
});

it("puts a command line that is too long for low memory above it", () => {
  const { memory, entry } = load(pvh, { commandLine: "y".repeat(700 * KIB) });
  expect(entry.ebx).toBeGreaterThan(MIB);
  expect(memory.string(memory.u64(entry.ebx + 24))).toHaveLength(700 * KIB);
});

it("writes only into free RAM and nothing twice, however kernel, modules and memory lie", () => {
  const memoryBytes = 4 * MIB;
  const range = fc.record({ addr: fc.nat({ max: memoryBytes }), size: fc.nat({ max: MIB }) });
  const layouts = fc.record({
    protocol: fc.constantFrom("multiboot" as const, "pvh" as const),
    segments: fc.array(fc.tuple(fc.nat({ max: MIB }), fc.integer({ min: 1, max: 300 * KIB })), {
      minLength: 1,
      maxLength: 4,
    }),
    modules: fc.array(fc.nat({ max: 600 * KIB }), { maxLength: 4 }),
    commandLine: fc.string({ maxLength: 100 }),
    holes: fc.array(range, { maxLength: 3 }),
  });
  fc.assert(
    fc.property(layouts, ({ protocol, segments, modules, commandLine, holes }) => {
      let gpa = 0;
      const image: KernelImage = {
        path: "k",
        file: new Uint8Array(0),
        protocol,
        entry: 0,
        segments: segments.map(([gap, memorySizeBytes]) => {
          const at = gpa + gap;
          gpa = at + memorySizeBytes;
          return { gpa: at, bytes: new Uint8Array(memorySizeBytes >> 1).fill(1), memorySizeBytes };
        }),
      };
      const memory = new FakeRam(memoryBytes);
      const reserved: E820Entry[] = holes.map((hole) => ({ ...hole, type: E820.RESERVED }));
      try {
        loadKernel({
          image,
          commandLine,
          modules: modules.map((length) => ({ bytes: new Uint8Array(length).fill(2), commandLine: "m" })),
          memory,
          memoryMap: [...memory.memoryMap, ...reserved],
        });
      } catch (error) {
        if (!(error instanceof BootError)) throw error;
        expect(memory.written).toEqual([]);
      }
      const forbidden = [...reserved, { addr: 0, size: 0x1000 }, { addr: 0x9_fc00, size: MIB - 0x9_fc00 }];
      const written = [...memory.written].sort((a, b) => a.gpa - b.gpa);
      written.forEach(({ gpa, sizeBytes }, index) => {
        const next = written[index + 1];
        if (next !== undefined) expect(gpa + sizeBytes).toBeLessThanOrEqual(next.gpa);
        for (const { addr, size } of forbidden)
          expect(gpa + sizeBytes <= addr || gpa >= addr + size || size === 0).toBe(true);
      });
    }),
    { numRuns: 150 },
  );
});
