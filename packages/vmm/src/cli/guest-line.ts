/** One of the guest's consoles, its serial port or its terminal on virtio: where it goes, and who types. */
import type { Readable } from "node:stream";
import { ConsoleHub } from "../console/hub.js";
import type { Sink } from "./sink-option.js";
import { type OpenSink, openSink } from "./sinks.js";

/** The guest's side. */
export interface GuestSide {
  /** False when a lot waits already: no more until `taken`. */
  receive(bytes: Uint8Array): boolean;
  /** There is room for what was held back. */
  release(): void;
}

export class GuestLine {
  readonly hub: ConsoleHub;
  readonly #sink: OpenSink;
  readonly #guest: GuestSide;
  /** Inputs that were told to wait until the guest has taken what there is. */
  readonly #waiting = new Set<Readable>();

  /** @param what as a pty's announcement calls it */
  constructor(option: string, what: string, sink: Sink, guest: GuestSide) {
    this.#guest = guest;
    this.#sink = openSink(option, sink, what);
    const { output } = this.#sink;
    this.hub = new ConsoleHub({
      ...(output && { primary: output }),
      onInput: (bytes, viewer) => this.receive(bytes, viewer),
      onDrain: () => guest.release(),
    });
    this.#sink.onViewer = (viewer) => this.hub.attach(viewer);
  }

  /** Hands `bytes` to the guest; their source waits while a lot of input does. */
  receive(bytes: Uint8Array, source: Readable): void {
    if (this.#guest.receive(bytes)) return;
    source.pause();
    this.#waiting.add(source);
  }

  /** The same of a terminal, which does not wait: the keys that end the machine are among those. */
  type(bytes: Uint8Array): void {
    this.#guest.receive(bytes);
  }

  /** The guest has taken what there was. */
  taken(): void {
    for (const source of this.#waiting) source.resume();
    this.#waiting.clear();
  }

  /** The machine begins: what an earlier one left goes. A line for the user comes back, when the place has a name he must know. */
  async begin(): Promise<string | undefined> {
    await this.#sink.begin?.();
    return this.#sink.announcement;
  }

  /** The guest is there: a pty's other end may type. */
  openInput(): void {
    const { input } = this.#sink;
    input?.on("data", (bytes: Buffer) => this.receive(bytes, input));
  }

  close(): Promise<void> {
    return this.#sink.close();
  }
}
