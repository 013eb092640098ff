/** What a network device is connected to: something that takes and gives whole Ethernet frames. */
export interface FrameLink {
  /** Readable when a frame has come. */
  readonly fd: number;
  /** Frames carry a virtio-net header (12 bytes) on this side too. */
  readonly hasHeader: boolean;
  /** One frame into `into`: its length, 0 when none has come, -1 when the link is gone. */
  read(into: Uint8Array): number;
  /** Several frames, one behind the other, and their lengths: how many, 0 when none has come, -1 when the link is gone. Only where frames carry a header. */
  readAll?(into: Uint8Array, lengths: Int32Array): number;
  /** Sends a frame. One that cannot go now is lost, as on a wire. */
  write(frame: Uint8Array): void;
  /** Sends frames in their order, each as write() does. */
  writeAll?(frames: readonly Uint8Array[]): void;
  /** What the driver has agreed to take and to leave to others; links without a header have none of it. */
  setOffload?(offload: Offload): void;
  close(): void;
}

export interface Offload {
  readonly checksum: boolean;
  readonly tso4: boolean;
  readonly tso6: boolean;
}

/** The longest frame: 64 KiB of IP that are still to be cut, behind an Ethernet header with a VLAN tag, and the virtio header. */
export const MOST_FRAME_BYTES = 65_536 + 18 + 12;
