/**
 * Typed views of a vCPU's `struct kvm_run`, the page in which KVM describes an exit and takes the answer
 * (Documentation/virt/kvm/api.rst, section 5).
 */

export class RunPage {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;

  constructor(page: ArrayBufferLike) {
    this.u8 = new Uint8Array(page);
    this.u16 = new Uint16Array(page);
    this.u32 = new Uint32Array(page);
  }

  /** A 64-bit field as a number; exact below 2^53, which every guest physical address is. */
  u64(offset: number): number {
    return this.u32[offset >> 2]! + this.u32[(offset >> 2) + 1]! * 2 ** 32;
  }

  /** Reads `sizeBytes` (1, 2 or 4) of little-endian data at any offset. */
  load(offset: number, sizeBytes: number): number {
    const { u8 } = this;
    switch (sizeBytes) {
      case 1:
        return u8[offset]!;
      case 2:
        return u8[offset]! | (u8[offset + 1]! << 8);
      default:
        return (u8[offset]! | (u8[offset + 1]! << 8) | (u8[offset + 2]! << 16) | (u8[offset + 3]! << 24)) >>> 0;
    }
  }

  /** Writes `sizeBytes` (1, 2 or 4) of little-endian data at any offset. */
  store(offset: number, sizeBytes: number, value: number): void {
    const { u8 } = this;
    for (let i = 0; i < sizeBytes; i++) u8[offset + i] = value >>> (8 * i);
  }
}
