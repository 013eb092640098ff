/** A flash chip: what is read in each mode, what programming and erasing do to the cells, and that changes are saved. */
import { beforeEach, describe, expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import { FLASH_BLOCK_BYTES, FLASH_COMMAND, FLASH_STATUS, flash } from "./flash.js";

const SIZE_BYTES = 4 * FLASH_BLOCK_BYTES;

class ChipBench extends Bench<ReturnType<typeof flash>["state"]> {
  readonly cells = new Uint8Array(SIZE_BYTES).fill(0xff);
  exposed = true;
  readonly saved: [number, number][] = [];
  saves = true;

  constructor() {
    super(flash(SIZE_BYTES), SIZE_BYTES);
    this.port.cells = {
      bytes: this.cells,
      expose: (exposed) => {
        this.exposed = exposed;
      },
      save: (offset, lengthBytes) => {
        this.saved.push([offset, lengthBytes]);
        return this.saves;
      },
    };
  }

  /** As firmware writes: a command and a byte for each, and an array again. */
  program(offset: number, ...values: number[]): void {
    values.forEach((value, index) => {
      this.write(offset + index, FLASH_COMMAND.PROGRAM);
      this.write(offset + index, value);
    });
    this.write(offset, FLASH_COMMAND.READ_ARRAY);
  }

  status(): number {
    this.write(0, FLASH_COMMAND.READ_STATUS);
    return this.read(0);
  }
}

let chip: ChipBench;
beforeEach(() => {
  chip = new ChipBench();
});

describe("a flash chip", () => {
  it("is an array after a reset, and the guest reads its cells without us", () => {
    chip.cells[5] = 0x12;
    expect(chip.read(5)).toBe(0x12);
    chip.write(0, FLASH_COMMAND.READ_STATUS);
    expect(chip.exposed).toBe(false);
    chip.device.reset();
    expect(chip.exposed).toBe(true);
    expect(chip.read(5)).toBe(0x12);
  });

  it("answers a probe as a chip: neither RAM nor a ROM would", () => {
    chip.cells[1] = 0xaa;
    chip.write(1, FLASH_COMMAND.CLEAR_STATUS);
    expect(chip.read(1)).toBe(0xaa);
    chip.write(1, FLASH_COMMAND.READ_STATUS);
    expect(chip.read(1)).toBe(0);
    chip.write(1, FLASH_COMMAND.READ_ARRAY);
    expect(chip.read(1)).toBe(0xaa);
  });

  it("clears bits when it is programmed, and saves what follows one another at once", () => {
    chip.program(10, 0x0f, 0x55, 0x00);
    chip.program(10, 0xf3);
    expect([...chip.cells.subarray(9, 14)]).toEqual([0xff, 0x03, 0x55, 0x00, 0xff]);
    expect(chip.saved).toEqual([
      [10, 3],
      [10, 1],
    ]);
    expect(chip.exposed).toBe(true);
  });

  it("saves each stretch of its own", () => {
    chip.write(100, FLASH_COMMAND.PROGRAM);
    chip.write(100, 1);
    chip.write(50, FLASH_COMMAND.PROGRAM);
    chip.write(50, 1);
    chip.write(0, FLASH_COMMAND.READ_ARRAY);
    expect(chip.saved).toEqual([
      [100, 1],
      [50, 1],
    ]);
  });

  it("erases a block, once that is confirmed", () => {
    chip.cells.fill(0);
    chip.write(FLASH_BLOCK_BYTES + 7, FLASH_COMMAND.ERASE_BLOCK);
    chip.write(FLASH_BLOCK_BYTES + 7, FLASH_COMMAND.CONFIRM);
    expect(chip.status()).toBe(FLASH_STATUS.READY);
    chip.write(0, FLASH_COMMAND.READ_ARRAY);
    expect(chip.cells.indexOf(0xff)).toBe(FLASH_BLOCK_BYTES);
    expect(chip.cells.lastIndexOf(0xff)).toBe(2 * FLASH_BLOCK_BYTES - 1);
    expect(chip.saved).toEqual([[FLASH_BLOCK_BYTES, FLASH_BLOCK_BYTES]]);

    chip.write(0, FLASH_COMMAND.ERASE_BLOCK);
    chip.write(0, FLASH_COMMAND.READ_ARRAY);
    expect(chip.status() & FLASH_STATUS.ERASE_FAILED).not.toBe(0);
    expect(chip.cells[0]).toBe(0);
  });

  it("programs a buffer", () => {
    chip.write(0x200, FLASH_COMMAND.PROGRAM_BUFFER);
    chip.write(0x200, 3);
    [1, 2, 3, 4].forEach((value, index) => {
      chip.write(0x200 + index, value);
    });
    chip.write(0x200, FLASH_COMMAND.CONFIRM);
    expect(chip.status()).toBe(FLASH_STATUS.READY);
    expect([...chip.cells.subarray(0x200, 0x205)]).toEqual([1, 2, 3, 4, 0xff]);
  });

  it("refuses a buffer larger than its own", () => {
    chip.write(0, FLASH_COMMAND.PROGRAM_BUFFER);
    chip.write(0, 64);
    expect(chip.status() & FLASH_STATUS.PROGRAM_FAILED).not.toBe(0);
    chip.write(0, FLASH_COMMAND.CLEAR_STATUS);
    expect(chip.status()).toBe(0);
  });

  it("says what it is: Intel's command set, and its blocks", () => {
    chip.write(0x55, FLASH_COMMAND.READ_QUERY);
    expect(Buffer.from([0x10, 0x11, 0x12].map((at) => chip.read(at))).toString()).toBe("QRY");
    expect(chip.read(0x13)).toBe(1);
    expect((chip.read(0x2d) | (chip.read(0x2e) << 8)) + 1).toBe(SIZE_BYTES / FLASH_BLOCK_BYTES);
    expect((chip.read(0x2f) | (chip.read(0x30) << 8)) * 256).toBe(FLASH_BLOCK_BYTES);
    chip.write(0, FLASH_COMMAND.READ_IDENTIFIER);
    expect(chip.read(0)).toBe(0x89);
  });

  it("tells the guest when a change could not be saved", () => {
    chip.saves = false;
    chip.program(0, 0);
    expect(chip.status() & FLASH_STATUS.PROGRAM_FAILED).not.toBe(0);
  });
});

it("takes whatever a guest writes", () => exercise(flash(SIZE_BYTES), SIZE_BYTES));
