/** Descriptors as both formats of rings have them, and the chains they make (virtio 1.2, sections 2.7.5 and 2.8). */
import { type QueueMemory, VirtqueueFault } from "./virtqueue.js";

/** Descriptor flags; a packed ring has two more. */
export const DESCRIPTOR = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;
export const DESCRIPTOR_BYTES = 16;
export const DESCRIPTOR_WORDS = DESCRIPTOR_BYTES / 4;
/** Offsets in words of a descriptor; the last word differs. */
export const WORD = { ADDR_LOW: 0, ADDR_HIGH: 1, LEN: 2, LAST: 3 } as const;

/** The bits of addresses that a JavaScript number can hold exactly; RAM lies far below. */
const MOST_ADDR_HIGH = 2 ** 21;
/** `next` has 16 bits, so no table has use for more. What lies behind is never looked at, however long a driver says it is. */
const MOST_TABLE_BYTES = DESCRIPTOR_BYTES * 2 ** 16;

/** A chain that is being put together. */
export interface Collected {
  readonly readable: Uint8Array[];
  readonly writable: Uint8Array[];
}

/** The address of the descriptor at word `at`; NaN, which is no address, for what a number cannot hold. */
export function addressAt(table: Uint32Array, at: number): number {
  const high = table[at + WORD.ADDR_HIGH]!;
  return high < MOST_ADDR_HIGH ? high * 2 ** 32 + table[at + WORD.ADDR_LOW]! : Number.NaN;
}

/** Adds a buffer to a chain. Throws VirtqueueFault when it is not RAM, or where it may not be. */
export function addBuffer(
  memory: QueueMemory,
  chain: Collected,
  gpa: number,
  length: number,
  isWritable: boolean,
): void {
  if (!isWritable && chain.writable.length > 0) throw new VirtqueueFault("a readable buffer after a writable one");
  if (length === 0) return;
  if (!memory.views(gpa, length, isWritable ? chain.writable : chain.readable)) throw outside("a buffer", gpa, length);
}

/** The table that an indirect descriptor stands for (section 2.7.5.3.1), as words. */
export function indirectTable(
  memory: QueueMemory,
  { isNegotiated, flags }: { isNegotiated: boolean; flags: number },
  gpa: number,
  length: number,
): Uint32Array {
  if (!isNegotiated) throw new VirtqueueFault("an indirect descriptor, which was not negotiated");
  if ((flags & DESCRIPTOR.NEXT) !== 0) throw new VirtqueueFault("an indirect descriptor with a next one");
  if (length === 0 || length % DESCRIPTOR_BYTES !== 0) throw new VirtqueueFault(`an indirect table of ${length} bytes`);
  const views: Uint8Array[] = [];
  if (!memory.views(gpa, Math.min(length, MOST_TABLE_BYTES), views)) throw outside("an indirect table", gpa, length);
  return words(views.length === 1 ? views[0]! : new Uint8Array(Buffer.concat(views)));
}

export function outside(what: string, gpa: number, length: number): VirtqueueFault {
  return new VirtqueueFault(`${what} of ${length} bytes at 0x${gpa.toString(16)}, which is not RAM`);
}

/** A ring in place: the device and the driver look at the same bytes, so it has to be in one piece. */
export function ringBytes(
  memory: QueueMemory,
  what: string,
  gpa: number,
  length: number,
  alignBytes: number,
): Uint8Array {
  if (gpa % alignBytes !== 0)
    throw new VirtqueueFault(`the ${what} is at 0x${gpa.toString(16)}, not at a multiple of ${alignBytes}`);
  const views: Uint8Array[] = [];
  if (!memory.views(gpa, length, views) || views.length !== 1) throw outside(`the ${what}`, gpa, length);
  return views[0]!;
}

/** As 32-bit words; a copy where the bytes are not aligned to them. */
export function words(bytes: Uint8Array): Uint32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
}

/** As 16-bit words, in place: an even address. */
export function halves(bytes: Uint8Array): Uint16Array {
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
}
