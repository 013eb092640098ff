/** A tap of the host: an interface that its administrator has made, or makes (CAP_NET_ADMIN). */
import { EIO, Tap, TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 } from "@tools-kvm/kvm-binding";
import { type FrameLink, MOST_FRAME_BYTES, type Offload } from "./frame-link.js";
import { HEADER_BYTES } from "./net.js";

export class TapLink implements FrameLink {
  readonly hasHeader = true;
  readonly #tap: Tap;
  readonly #length = new Int32Array(1);
  readonly #name: string;
  readonly #log: (message: string) => void;
  #isDown = false;

  /**
   * Throws KvmError: EPERM, EBUSY.
   * @param log one line when a frame finds the interface down, and one when it is up again
   */
  constructor(name: string, log: (message: string) => void) {
    this.#name = name;
    this.#log = log;
    this.#tap = Tap.open({ name, vnetHeaderBytes: HEADER_BYTES });
  }

  get fd(): number {
    return this.#tap.fd;
  }

  read(into: Uint8Array): number {
    const count = this.readAll(into, this.#length);
    return count > 0 ? this.#length[0]! : count;
  }

  readAll(into: Uint8Array, lengths: Int32Array): number {
    try {
      return this.#tap.readAll(into, lengths, MOST_FRAME_BYTES);
    } catch (error) {
      // The interface is down (EIO): it may come up again. Or it was deleted (EBADFD).
      return errnoName(error) === "EIO" ? 0 : -1;
    }
  }

  write(frame: Uint8Array): void {
    try {
      this.#tap.write(frame);
      if (this.#isDown) this.#note(false);
    } catch (error) {
      // The interface is down, or the driver's header makes no sense to the kernel: the frame is lost.
      if (errnoName(error) === "EIO" && !this.#isDown) this.#note(true);
    }
  }

  writeAll(frames: readonly Uint8Array[]): void {
    const result = this.#tap.writeAll(frames);
    if (result === -EIO ? !this.#isDown : result === 0 && this.#isDown) this.#note(!this.#isDown);
  }

  #note(isDown: boolean): void {
    this.#isDown = isDown;
    const state = isDown ? "down: what the guest sends is lost until it is up again" : "up again";
    this.#log(`${this.#name} is ${state}`);
  }

  setOffload({ checksum, tso4, tso6 }: Offload): void {
    // Frames to be cut come with a checksum to be made, or not at all.
    const segments = checksum ? (tso4 ? TUN_F_TSO4 : 0) | (tso6 ? TUN_F_TSO6 : 0) : 0;
    this.#tap.setOffload((checksum ? TUN_F_CSUM : 0) | segments);
  }

  close(): void {
    this.#tap.close();
  }
}

function errnoName(error: unknown): string | undefined {
  return (error as { errnoName?: string }).errnoName;
}
