/** Lists of buffers as a driver may cut them: anywhere (virtio 1.2, section 2.7.4). */

export { totalBytes } from "../../../block/buffers.js";

const NONE: readonly Uint8Array[] = [];

/** A copy of the first `length` bytes; undefined when there are not so many. */
export function takeBytes(buffers: readonly Uint8Array[], length: number): Uint8Array | undefined {
  const bytes = new Uint8Array(length);
  let done = 0;
  for (const buffer of buffers) {
    if (done === length) break;
    const piece = buffer.subarray(0, length - done);
    bytes.set(piece, done);
    done += piece.length;
  }
  return done === length ? bytes : undefined;
}

/** The same bytes without the first `length`. */
export function skipBytes(buffers: readonly Uint8Array[], length: number): readonly Uint8Array[] {
  if (buffers[0]?.length === length) return buffers.length === 1 ? NONE : buffers.slice(1);
  const rest: Uint8Array[] = [];
  let left = length;
  for (const buffer of buffers) {
    if (left < buffer.length) rest.push(left === 0 ? buffer : buffer.subarray(left));
    left = Math.max(0, left - buffer.length);
  }
  return rest;
}

/** The last byte of all, in place; undefined when there is none. */
export function lastByte(buffers: readonly Uint8Array[]): Uint8Array | undefined {
  const last = buffers.at(-1);
  return last === undefined || last.length === 1 ? last : last.subarray(-1);
}

/** The same bytes without the last. */
export function withoutLastByte(buffers: readonly Uint8Array[]): Uint8Array[] {
  const last = buffers.at(-1)!;
  const rest = buffers.slice(0, -1);
  return last.length > 1 ? [...rest, last.subarray(0, -1)] : rest;
}
