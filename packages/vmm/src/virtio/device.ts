/**
 * A virtio device, declared as data: what its driver can learn of it. What it does with buffers is its backend's part
 * (`VirtioBackend`); how driver and device reach each other is a transport's.
 */
import type { RateLimit } from "./rate-limit.js";
import type { DescriptorChain, Virtqueue } from "./virtqueue.js";

export interface VirtioDevice {
  /** Lower case, unique in its machine, as the ledger and `vmm inspect` show it; at most 31 bytes. */
  readonly name: string;
  /** DEVICE_ID. */
  readonly deviceId: number;
  /** Bits of the device's own; what every device has is added by the transport. */
  readonly features: readonly number[];
  /** The most entries that each queue can have: a power of two. */
  readonly queueSizes: readonly number[];
  /** The device's configuration space as it is after a reset. */
  readonly config: Uint8Array;
  /** From and to: bytes of it that drivers may write. */
  readonly driverConfig?: readonly [number, number];
  /** Where in it a driver may write characters, one at a time, even before it has set up a queue. */
  readonly emergencyWrite?: number;
  /** From and to: bytes of it that stay as they are when it is reset again. */
  readonly keptConfig?: readonly [number, number];
}

/** What the driver and the device have agreed on. */
export interface Negotiated {
  has(feature: number): boolean;
}

/** A device's data plane: lives in the I/O Worker, and is called for each chain that the driver makes available. */
export interface VirtioBackend {
  /**
   * Does what the chain asks and returns how many bytes it wrote to its writable buffers. A request that fails is
   * answered in the device's own way; what the specification forbids throws a VirtqueueFault.
   */
  handle(queueIndex: number, chain: DescriptorChain, negotiated: Negotiated): number;
  /**
   * The same for several chains at once, for devices that can do them beside each other. `done` is called for each that is done, in whatever
   * order, and for all of them before this returns or throws.
   */
  handleAll?(
    queueIndex: number,
    chains: readonly DescriptorChain[],
    negotiated: Negotiated,
    done: (chain: DescriptorChain, writtenBytes: number) => void,
  ): void;
  /** For devices that see to all of their queues by themselves; handle() is not called then. */
  readonly attendant?: VirtioAttendant;
  /** For devices that have something to say unasked. */
  readonly input?: VirtioInput;
  /** Queues in which the device has nothing to say: it leaves the driver's buffers where they are. */
  readonly silentQueues?: readonly number[];
  /** Chains are handled only while it lets them; handle() charges it. */
  readonly limit?: RateLimit | undefined;
  close(): void;
}

/** Sees to all queues of a device together. */
export interface VirtioAttendant {
  /** Readable when something has happened on the host's side. */
  readonly fd: number;
  /** The last attend() has left something of the driver's where it is, for lack of room on the host's side or of time. */
  readonly isBehind: boolean;
  /**
   * Called then, and whenever the driver has notified any queue. Returns before long: whoever wants to reset the device waits.
   * @param ready a queue, if the driver has it in use
   * @param announceConfig has the driver read the configuration space again
   */
  attend(ready: (index: number) => Virtqueue | undefined, negotiated: Negotiated, announceConfig: () => void): void;
}

/** Something outside that the device hands on to its driver, in buffers that the driver has left in a queue. */
export interface VirtioInput {
  /** Whose buffers these are: they are not given to handle(). */
  readonly queueIndex: number;
  /** Readable when there is something. */
  readonly fd: number;
  /** deliver() charges it, moves nothing more when it is spent, and is called again when it is not. */
  readonly limit?: RateLimit | undefined;
  /** Moves what there is into the queue's buffers. `full` when it has no more of them: deliver() is called again when the driver adds some. */
  deliver(queue: Virtqueue, negotiated: Negotiated): "empty" | "full" | "ended";
  /** What the configuration space says from now on; asked when there will be nothing any more, and after every reset from then on. */
  configAfterEnd?(config: Uint8Array): void;
}
