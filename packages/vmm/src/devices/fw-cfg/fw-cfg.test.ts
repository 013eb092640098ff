import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import { DMA_CONTROL } from "./dma.js";
import { fwCfg } from "./fw-cfg.js";
import { buildItems, FW_CFG_KEY, type FwCfgItems, u16, u32, u64 } from "./items.js";

const COMMAND = 0x100;
const BUFFER = 0x200;
const NOTE = "opt/note";

const contents = {
  items: [
    [FW_CFG_KEY.RAM_SIZE, u64(0x1_2345_6000)],
    [FW_CFG_KEY.NB_CPUS, u16(258)],
    [FW_CFG_KEY.KERNEL_SIZE, u32(0xfedc_ba98)],
  ] as const,
  files: [
    { name: NOTE, bytes: Uint8Array.of(1, 2, 3, 4), writable: true },
    { name: "etc/table", bytes: Uint8Array.of(9, 8, 7) },
  ],
};

class FwCfgBench extends Bench<typeof fwCfg.state> {
  constructor(items: FwCfgItems = buildItems(contents)) {
    super(fwCfg);
    this.port.items = items;
    this.port.ram = new Uint8Array(0x1000).fill(0xcc);
  }

  item(key: number, length: number): number[] {
    this.write(0, key, 2);
    return Array.from({ length }, () => this.read(1));
  }

  /** Writes a command to memory and starts it: the control word it leaves behind. */
  dma(control: number, length: number, address = BUFFER, command = COMMAND): number {
    const view = new DataView(this.port.ram.buffer);
    view.setUint32(command, control);
    view.setUint32(command + 4, length);
    view.setBigUint64(command + 8, BigInt(address));
    this.start(command);
    return view.getUint32(command);
  }

  /** The two big-endian halves of a command's address, the lower last. */
  start(gpa: number): void {
    const halves = new DataView(new ArrayBuffer(8));
    halves.setBigUint64(0, BigInt(gpa));
    this.write(4, halves.getUint32(0, true), 4);
    this.write(8, halves.getUint32(4, true), 4);
  }

  buffer(length: number): number[] {
    return [...this.port.ram.subarray(BUFFER, BUFFER + length)];
  }
}

const select = (key: number): number => key * 2 ** 16 + DMA_CONTROL.SELECT;

describe("the selector and the data port", () => {
  it("sign as guests expect, and offer DMA", () => {
    const bench = new FwCfgBench();
    expect(String.fromCharCode(...bench.item(FW_CFG_KEY.SIGNATURE, 4))).toBe("QEMU");
    expect(bench.item(FW_CFG_KEY.ID, 4)).toEqual([3, 0, 0, 0]);
  });

  it("give numbers with their low byte first", () => {
    const bench = new FwCfgBench();
    expect(bench.item(FW_CFG_KEY.RAM_SIZE, 8)).toEqual([0x00, 0x60, 0x45, 0x23, 0x01, 0, 0, 0]);
    expect(bench.item(FW_CFG_KEY.NB_CPUS, 2)).toEqual([2, 1]);
    expect(bench.item(FW_CFG_KEY.KERNEL_SIZE, 4)).toEqual([0x98, 0xba, 0xdc, 0xfe]);
  });

  it("read zeros past the end of an item and for keys that do not exist", () => {
    const bench = new FwCfgBench();
    expect(bench.item(FW_CFG_KEY.SIGNATURE, 6).slice(4)).toEqual([0, 0]);
    expect(bench.item(FW_CFG_KEY.SETUP_DATA, 4)).toEqual([0, 0, 0, 0]);
    expect(bench.item(0x8000, 2)).toEqual([0, 0]);
    expect(bench.item(0xffff, 2)).toEqual([0, 0]);
  });

  it("start an item anew when it is selected again, also by the old bit for writing", () => {
    const bench = new FwCfgBench();
    bench.item(FW_CFG_KEY.SIGNATURE, 2);
    expect(bench.item(FW_CFG_KEY.SIGNATURE, 1)).toEqual([0x51]);
    expect(bench.item(0x4000 | FW_CFG_KEY.SIGNATURE, 1)).toEqual([0x51]);
  });

  it("give data only at the data port", () => {
    const bench = new FwCfgBench();
    bench.write(0, FW_CFG_KEY.SIGNATURE, 2);
    expect([bench.read(0), bench.read(0, 2), bench.read(2)]).toEqual([0, 0, 0]);
    expect(bench.read(1)).toBe(0x51);
  });

  it("do not take a byte for a selector", () => {
    const bench = new FwCfgBench();
    bench.item(FW_CFG_KEY.SIGNATURE, 1);
    bench.write(0, FW_CFG_KEY.ID, 1);
    expect(bench.read(1)).toBe(0x45);
  });
});

describe("the directory", () => {
  it("names the files in order, with their keys and sizes", () => {
    const bench = new FwCfgBench();
    const bytes = Uint8Array.from(bench.item(FW_CFG_KEY.FILE_DIR, 4 + 2 * 64));
    const view = new DataView(bytes.buffer);
    const entry = (at: number) => ({
      size: view.getUint32(at),
      key: view.getUint16(at + 4),
      name: String.fromCharCode(...bytes.subarray(at + 8, bytes.indexOf(0, at + 8))),
    });
    expect(view.getUint32(0)).toBe(2);
    expect(entry(4)).toEqual({ size: 3, key: 0x20, name: "etc/table" });
    expect(entry(68)).toEqual({ size: 4, key: 0x21, name: NOTE });
    expect(bench.item(0x20, 3)).toEqual([9, 8, 7]);
  });

  it("takes no name that a guest could not read, and no name twice", () => {
    const named =
      (...names: string[]) =>
      () =>
        buildItems({ items: [], files: names.map((name) => ({ name, bytes: new Uint8Array(1) })) });
    expect(named("opt/a", "opt/a")).toThrow("two files named opt/a");
    for (const name of ["", "opt/ü", "opt/a b", "x".repeat(56)]) expect(named(name)).toThrow("takes no file named");
    expect(named("x".repeat(55))).not.toThrow();
  });
});

describe("DMA", () => {
  it("signs at its register, in the order of the bytes there", () => {
    const bench = new FwCfgBench();
    const word = (offset: number) => Buffer.from(u32(bench.read(offset, 4))).toString("latin1");
    expect(word(4) + word(8)).toBe("QEMU CFG");
  });

  it("selects and reads in one command, then reads on", () => {
    const bench = new FwCfgBench();
    expect(bench.dma(select(0x21) | DMA_CONTROL.READ, 2)).toBe(0);
    expect(bench.buffer(3)).toEqual([1, 2, 0xcc]);
    expect(bench.dma(DMA_CONTROL.READ, 1)).toBe(0);
    expect(bench.buffer(2)).toEqual([3, 2]);
    expect(bench.read(1)).toBe(4);
  });

  it("skips", () => {
    const bench = new FwCfgBench();
    expect(bench.dma(select(0x21) | DMA_CONTROL.SKIP, 3, 0xffff_ffff_0000)).toBe(0);
    expect(bench.read(1)).toBe(4);
  });

  it("reads zeros past the end, however it has come there", () => {
    const bench = new FwCfgBench();
    expect(bench.dma(select(0x21) | DMA_CONTROL.READ, 6)).toBe(0);
    expect(bench.buffer(7)).toEqual([1, 2, 3, 4, 0, 0, 0xcc]);
    expect(bench.dma(select(0x21) | DMA_CONTROL.SKIP, 0xffff_ffff)).toBe(0);
    expect(bench.dma(DMA_CONTROL.SKIP, 0xffff_ffff)).toBe(0);
    expect(bench.dma(DMA_CONTROL.READ, 1)).toBe(0);
    expect(bench.buffer(1)).toEqual([0]);
    expect(bench.dma(select(0x3333) | DMA_CONTROL.READ, 2)).toBe(0);
    expect(bench.buffer(3)).toEqual([0, 0, 3]);
  });

  it("writes what may be written, whole, and to every thread's eyes", () => {
    const bench = new FwCfgBench();
    const items = bench.port.items;
    bench.port.ram.set([7, 7], BUFFER);
    expect(bench.dma(select(0x21) | DMA_CONTROL.WRITE, 2)).toBe(0);
    expect(bench.item(0x21, 4)).toEqual([7, 7, 3, 4]);
    expect(items.get(0x21)!.bytes.buffer).toBeInstanceOf(SharedArrayBuffer);
    for (const [key, length] of [
      [0x20, 1],
      [0x21, 5],
      [0x30, 1],
    ] as const) {
      expect(bench.dma(select(key) | DMA_CONTROL.WRITE, length)).toBe(DMA_CONTROL.ERROR);
    }
    expect(bench.item(0x20, 3)).toEqual([9, 8, 7]);
  });

  it("reads rather than writes or skips when a command says all of it", () => {
    const bench = new FwCfgBench();
    expect(bench.dma(select(0x21) | DMA_CONTROL.READ | DMA_CONTROL.WRITE | DMA_CONTROL.SKIP, 1)).toBe(0);
    expect([...bench.buffer(1), ...bench.item(0x21, 1)]).toEqual([1, 1]);
  });

  it("moves nothing when a command says neither", () => {
    const bench = new FwCfgBench();
    expect(bench.dma(select(0x21), 4)).toBe(0);
    expect([...bench.buffer(1), bench.read(1)]).toEqual([0xcc, 1]);
  });

  it("sets the error bit for what is not RAM, also behind its end", () => {
    const bench = new FwCfgBench();
    for (const address of [0x1000, 0xfff, 0xffff_ffff, 2 ** 40]) {
      expect(bench.dma(select(0x21) | DMA_CONTROL.READ, 2, address)).toBe(DMA_CONTROL.ERROR);
      expect(bench.dma(select(0x21) | DMA_CONTROL.WRITE, 2, address)).toBe(DMA_CONTROL.ERROR);
    }
  });

  it("goes across the borders of RAM's regions", () => {
    const bench = new FwCfgBench();
    bench.port.spanBytes = 3;
    expect(bench.dma(select(0x21) | DMA_CONTROL.READ, 4)).toBe(0);
    expect(bench.buffer(5)).toEqual([1, 2, 3, 4, 0xcc]);
  });

  it("ignores a command that is not in RAM, and starts each with an address of its own", () => {
    const bench = new FwCfgBench();
    bench.start(0xff8);
    bench.start(2 ** 32 + COMMAND);
    expect(bench.dma(select(0x21) | DMA_CONTROL.READ, 1)).toBe(0);
    expect(bench.state.dmaAddressHigh).toBe(0);
  });

  it("does in pieces what it does at once", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 64 }),
        fc.array(fc.nat(16), { maxLength: 8 }),
        (bytes, cuts) => {
          const bench = new FwCfgBench(buildItems({ items: [[1234, bytes]], files: [] }));
          let at = 0;
          let [command, expected] = [select(1234), [] as number[]];
          for (const length of cuts) {
            expect(bench.dma(command | DMA_CONTROL.READ, length, BUFFER + at)).toBe(0);
            expected = [...expected, ...Array.from({ length }, (_, index) => bytes[at + index] ?? 0)];
            [command, at] = [0, at + length];
          }
          expect(bench.buffer(at + 1)).toEqual([...expected, 0xcc]);
        },
      ),
    );
  });

  it("touches nothing but its buffer and its control word, whatever a command says", () => {
    const word = fc.oneof(fc.nat(0x1100), fc.integer({ min: 0, max: 0xffff_ffff }));
    const control = fc.tuple(fc.constantFrom(0, 1, 3, 5, 0x11, 0x20, 0x21, 0x8000, 0xffff), fc.nat(0x1f));
    fc.assert(
      fc.property(
        control,
        word,
        fc.oneof(fc.nat(0x1100), fc.maxSafeNat()),
        word,
        ([key, bits], length, address, command) => {
          const bench = new FwCfgBench();
          const { ram } = bench.port;
          if (command + 16 <= ram.length) bench.dma(key * 2 ** 16 + bits, length, address, command);
          else bench.start(command);
          const changed = [...ram.keys()].filter((at) => ram[at] !== 0xcc);
          for (const at of changed) {
            expect((at >= command && at < command + 16) || (at >= address && at < address + length)).toBe(true);
          }
          expect(bench.state.position).toBeLessThanOrEqual(4 + 2 * 64);
        },
      ),
    );
  });
});

it("survives whatever a guest does", () => exercise(fwCfg, 12));
