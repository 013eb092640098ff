/** Resource descriptors and the templates made of them (ACPI 6.5, section 6.4). */
import { checksumOf, concat, StructBytes } from "../../bytes.js";
import { buffer } from "./data.js";
import { AmlError } from "./errors.js";

/** Tags: a small descriptor's has its length in the low three bits, a large one's has bit 7 set. */
const TAG = {
  IRQ_NO_FLAGS: 0x22,
  IO_PORT: 0x47,
  END: 0x79,
  FIXED_MEMORY_32: 0x86,
  DWORD_ADDRESS_SPACE: 0x87,
  WORD_ADDRESS_SPACE: 0x88,
  EXTENDED_INTERRUPT: 0x89,
  QWORD_ADDRESS_SPACE: 0x8a,
} as const;

/** A buffer of descriptors with the end tag: the value of a `_CRS`. */
export function resourceTemplate(...descriptors: readonly Uint8Array[]): Uint8Array {
  const all = concat([...descriptors, Uint8Array.of(TAG.END)]);
  return buffer(concat([all, Uint8Array.of(checksumOf(all))]));
}

/** `IRQNoFlags () {irq}`: an ISA interrupt, edge-triggered, active high (section 6.4.2.1). */
export function irqNoFlags(irq: number): Uint8Array {
  if (!Number.isInteger(irq) || irq < 0 || irq > 15) throw new AmlError(`there is no ISA interrupt ${irq}`);
  return new StructBytes(3).u8(0, TAG.IRQ_NO_FLAGS).u16(1, 1 << irq).bytes;
}

const DECODES_16_BITS = 1;

/** `IO (Decode16, base, base, 1, sizeBytes)`: ports that stand where they stand (section 6.4.2.5). */
export function ioPorts(base: number, sizeBytes: number): Uint8Array {
  return new StructBytes(8)
    .u8(0, TAG.IO_PORT)
    .u8(1, DECODES_16_BITS)
    .u16(2, base)
    .u16(4, base)
    .u8(6, 1)
    .u8(7, sizeBytes).bytes;
}

const READ_WRITE = 1;

/** `Memory32Fixed (ReadWrite, base, sizeBytes)` (section 6.4.3.4). */
export function memory32Fixed(base: number, sizeBytes: number): Uint8Array {
  return large(TAG.FIXED_MEMORY_32, 12).u8(3, READ_WRITE).u32(4, base).u32(8, sizeBytes).bytes;
}

const INTERRUPT = { CONSUMER: 1 << 0, EDGE: 1 << 1, ACTIVE_LOW: 1 << 2, SHARED: 1 << 3 } as const;

export interface InterruptOptions {
  readonly gsi: number;
  readonly trigger: "edge" | "level";
  readonly polarity?: "high" | "low";
  readonly shared?: boolean;
}

/** `Interrupt (ResourceConsumer, ...) {gsi}`: the extended descriptor (section 6.4.3.6). Active high unless it says otherwise. */
export function interrupt({ gsi, trigger, polarity = "high", shared = false }: InterruptOptions): Uint8Array {
  const flags =
    INTERRUPT.CONSUMER |
    (trigger === "edge" ? INTERRUPT.EDGE : 0) |
    (polarity === "low" ? INTERRUPT.ACTIVE_LOW : 0) |
    (shared ? INTERRUPT.SHARED : 0);
  return large(TAG.EXTENDED_INTERRUPT, 9).u8(3, flags).u8(4, 1).u32(5, gsi).bytes;
}

/** Address space descriptors (section 6.4.3.5): general flags, and those of memory and of I/O. */
const ADDRESS_TYPE = { MEMORY: 0, IO: 1, BUS_NUMBER: 2 } as const;
const CONSUMER = 1 << 0;
const FIXED_BOUNDS = (1 << 2) | (1 << 3);
const PREFETCHABLE = 3 << 1;
const ENTIRE_RANGE = 3;

/** Addresses that a bridge hands on, the same on both of its sides. */
export interface WindowOptions {
  readonly base: number;
  readonly sizeBytes: number;
  /** The device uses them itself. */
  readonly consumed?: boolean;
}

interface AddressSpace extends WindowOptions {
  readonly type: number;
  readonly typeFlags: number;
}

/** `WordBusNumber (ResourceProducer, ...)`, first to last included. */
export function wordBusNumber(first: number, last: number): Uint8Array {
  return addressSpace(2, { type: ADDRESS_TYPE.BUS_NUMBER, typeFlags: 0, base: first, sizeBytes: last - first + 1 });
}

/** `WordIO (ResourceProducer, ...)`: a window of ports, of at most 65535. */
export function wordIo(window: WindowOptions): Uint8Array {
  return addressSpace(2, { type: ADDRESS_TYPE.IO, typeFlags: ENTIRE_RANGE, ...window });
}

/** `DWordMemory (ResourceProducer, ..., NonCacheable, ReadWrite)`. */
export function dwordMemory(window: WindowOptions): Uint8Array {
  return addressSpace(4, { type: ADDRESS_TYPE.MEMORY, typeFlags: READ_WRITE, ...window });
}

/** `QWordMemory (ResourceProducer, ..., ReadWrite)`, prefetchable or not cacheable. */
export function qwordMemory(window: WindowOptions & { readonly prefetchable: boolean }): Uint8Array {
  const typeFlags = READ_WRITE | (window.prefetchable ? PREFETCHABLE : 0);
  return addressSpace(8, { type: ADDRESS_TYPE.MEMORY, typeFlags, ...window });
}

const ADDRESS_TAGS = { 2: TAG.WORD_ADDRESS_SPACE, 4: TAG.DWORD_ADDRESS_SPACE, 8: TAG.QWORD_ADDRESS_SPACE } as const;

function addressSpace(
  width: 2 | 4 | 8,
  { type, typeFlags, base, sizeBytes, consumed = false }: AddressSpace,
): Uint8Array {
  const descriptor = large(ADDRESS_TAGS[width], 6 + 5 * width);
  descriptor
    .u8(3, type)
    .u8(4, FIXED_BOUNDS | (consumed ? CONSUMER : 0))
    .u8(5, typeFlags);
  const granularity = 0;
  const translation = 0;
  const words = [granularity, base, base + sizeBytes - 1, translation, sizeBytes];
  const write = { 2: descriptor.u16, 4: descriptor.u32, 8: descriptor.u64 }[width];
  words.forEach((word, index) => {
    write.call(descriptor, 6 + width * index, word);
  });
  return descriptor.bytes;
}

/** A large descriptor of `sizeBytes` in all, with its tag and length. */
function large(tag: number, sizeBytes: number): StructBytes {
  return new StructBytes(sizeBytes).u8(0, tag).u16(1, sizeBytes - 3);
}
