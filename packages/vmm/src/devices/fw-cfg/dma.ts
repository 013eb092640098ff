/** fw_cfg's DMA interface: one command in guest memory, done at once (QEMU, docs/specs/fw_cfg.rst, "DMA interface"). */
import type { DevicePort } from "../device.js";
import { type FwCfgItem, keyOf } from "./items.js";

/** Bits of a command's control word; SELECT's key is in the upper half. */
export const DMA_CONTROL = { ERROR: 1 << 0, READ: 1 << 1, SKIP: 1 << 2, SELECT: 1 << 3, WRITE: 1 << 4 } as const;

/** The command: control and length, 32 bits each, then an address of 64; all big-endian. */
const COMMAND_BYTES = 16;

/** The device's registers, as far as DMA uses them. */
export interface DmaCursor {
  selector: number;
  position: number;
}

type Memory = Pick<DevicePort, "memory" | "fwCfgItem">;

/**
 * Does the command at `gpa` and writes its control word back: 0, or the error bit. A command that is not in RAM is
 * ignored, as there is nowhere to say so.
 */
export function runDma(cursor: DmaCursor, gpa: number, port: Memory): void {
  const bytes = new Uint8Array(COMMAND_BYTES);
  if (!transfer(port, gpa, COMMAND_BYTES, (span, done) => bytes.set(span, done))) return;
  const command = new DataView(bytes.buffer);
  const [control, length] = [command.getUint32(0), command.getUint32(4)];
  // An address beyond 2^53 is rounded, and is no RAM either way.
  const address = command.getUint32(8) * 2 ** 32 + command.getUint32(12);
  if ((control & DMA_CONTROL.SELECT) !== 0) {
    cursor.selector = control >>> 16;
    cursor.position = 0;
  }
  const done = move(cursor, control, { address, length }, port);
  const answer = new Uint8Array([0, 0, 0, done ? 0 : DMA_CONTROL.ERROR]);
  transfer(port, gpa, answer.length, (span, at) => span.set(answer.subarray(at, at + span.length)));
}

interface Range {
  readonly address: number;
  readonly length: number;
}

/** When several of the bits are set, the first of read, write and skip counts. False is an error. */
function move(cursor: DmaCursor, control: number, range: Range, port: Memory): boolean {
  const item = port.fwCfgItem(keyOf(cursor.selector));
  if ((control & DMA_CONTROL.READ) !== 0) return read(cursor, item, range, port);
  if ((control & DMA_CONTROL.WRITE) !== 0) return write(cursor, item, range, port);
  if ((control & DMA_CONTROL.SKIP) !== 0) skip(cursor, item, range.length);
  return true;
}

/** Past its end an item goes on as zeros. */
function read(cursor: DmaCursor, item: FwCfgItem | undefined, { address, length }: Range, port: Memory): boolean {
  const rest = item?.bytes.subarray(cursor.position) ?? NOTHING;
  const fits = transfer(port, address, length, (span, done) => {
    const part = rest.subarray(done, done + span.length);
    span.set(part);
    span.fill(0, part.length);
  });
  skip(cursor, item, length);
  return fits;
}

function write(cursor: DmaCursor, item: FwCfgItem | undefined, { address, length }: Range, port: Memory): boolean {
  const room = item?.bytes.subarray(cursor.position) ?? NOTHING;
  if (!item?.writable || length > room.length) return false;
  const fits = transfer(port, address, length, (span, done) => room.set(span, done));
  skip(cursor, item, length);
  return fits;
}

function skip(cursor: DmaCursor, item: FwCfgItem | undefined, length: number): void {
  cursor.position = Math.min(cursor.position + length, item?.bytes.length ?? 0);
}

const NOTHING = new Uint8Array(0);

/**
 * Goes through `length` bytes of RAM at `gpa` in the pieces they come in. False as soon as there is no RAM: what was
 * moved until then stays moved, and no more than all of RAM is ever touched.
 */
function transfer(port: Memory, gpa: number, length: number, each: (span: Uint8Array, done: number) => void): boolean {
  for (let done = 0; done < length; ) {
    const span = port.memory(gpa + done, length - done);
    if (span === undefined) return false;
    each(span, done);
    done += span.length;
  }
  return true;
}
