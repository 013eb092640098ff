import { Handle, made } from "./handle.js";
import { native } from "./load-native.js";
import type { NativeHandle } from "./native.d.ts";

/** The other side of a pseudo-terminal. While it is open, reading the first side does not fail with EIO. */
class PtySlave extends Handle {}

/** A pseudo-terminal (pty(7)) in raw mode, non-blocking: what is written here is read at `path`, and the other way round. */
export class Pty extends Handle {
  /** Where the other side is found: "/dev/pts/3". */
  readonly path: string;
  readonly #slave: PtySlave;

  private constructor(master: NativeHandle, slave: NativeHandle, path: string) {
    super(master, made);
    this.#slave = new PtySlave(slave, made);
    this.path = path;
  }

  /** A new one. @throws KvmError when the host has no more */
  static open(): Pty {
    return new Pty(...native.ptyOpen());
  }

  override close(): void {
    this.#slave.close();
    super.close();
  }
}
