/** The register file of a device whose registers are 32 bits wide, reached by narrower accesses. */

const MASK = [0, 0xff, 0xffff, 0xffffff, 0xffffffff] as const;

/** The `sizeBytes` (1, 2 or 4) at `offset` of the register that holds them; bytes beyond the register are zero. */
export function extractBytes(register: number, offset: number, sizeBytes: number): number {
  return ((register >>> ((offset & 3) * 8)) & MASK[sizeBytes]!) >>> 0;
}

/** `register` with the `sizeBytes` at `offset` replaced by `value`; bytes beyond the register are dropped. */
export function mergeBytes(register: number, offset: number, sizeBytes: number, value: number): number {
  const shift = (offset & 3) * 8;
  const mask = (MASK[sizeBytes]! << shift) >>> 0;
  return ((register & ~mask) | ((value << shift) & mask)) >>> 0;
}

/** `value` at its place in the register, with zeros elsewhere: what a write-one-to-clear register needs. */
export function placeBytes(offset: number, sizeBytes: number, value: number): number {
  return mergeBytes(0, offset, sizeBytes, value);
}
