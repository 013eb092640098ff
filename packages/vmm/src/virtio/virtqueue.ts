/**
 * Virtqueues as a device uses them (virtio 1.2, section 2.6), whatever the format of their rings. The driver's rings lie in
 * guest memory, which the guest may change at any moment and to anything: every number is read once, checked, and then
 * used. A fault of the driver's throws VirtqueueFault; the transport then says DEVICE_NEEDS_RESET.
 */

/** Guest RAM as queues see it. */
export interface QueueMemory {
  /** Adds views of the guest's `length` bytes at `gpa` to `views`. False when they are not all RAM. */
  views(gpa: number, length: number, views: Uint8Array[]): boolean;
}

/** Where the driver has put a queue. */
export interface VirtqueueLayout {
  /** Entries, up to MOST_ENTRIES; a power of two in a split queue. */
  readonly size: number;
  /** Guest-physical addresses of the descriptor area, the driver area and the device area. */
  readonly descriptors: number;
  readonly driver: number;
  readonly device: number;
}

export interface VirtqueueOptions {
  readonly indirect: boolean;
  readonly eventIdx: boolean;
}

export const MOST_ENTRIES = 32_768;

/** What the driver has done against the specification. One line. */
export class VirtqueueFault extends Error {
  override readonly name = "VirtqueueFault";
}

/** Buffers that the driver has chained: first those that the device reads, then those that it writes. */
export interface DescriptorChain {
  /** How the driver knows it: the index of its first descriptor, or its buffer id in a packed queue. */
  readonly head: number;
  readonly readable: readonly Uint8Array[];
  readonly writable: readonly Uint8Array[];
  /** Entries of a packed ring that it takes. */
  readonly slots?: number;
}

export interface Virtqueue {
  /** Entries. */
  readonly size: number;
  /** The next chain that the driver has made available, or undefined. */
  next(): DescriptorChain | undefined;
  /** Undoes the last calls of next(), which gave these chains: they come again. */
  putBack(chains: readonly DescriptorChain[]): void;
  /** Gives a chain back, of whose writable buffers the first `writtenBytes` were written. */
  complete(chain: DescriptorChain, writtenBytes: number): void;
  /** Whether the driver wants an interrupt for what was completed since this was last asked. */
  takesInterrupt(): boolean;
  /** Asks the driver not to notify while the device looks anyway. */
  disableNotifications(): void;
  /** Asks for a notification of what is made available next. True when more has come meanwhile: look again, nobody will notify. */
  enableNotifications(): boolean;
}
