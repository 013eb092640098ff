/** Somebody on the host's side who has connected, and has to say to which port of the guest. */
import { POLLIN, type UnixSocket } from "@tools-kvm/kvm-binding";

const LINE = /^CONNECT (\d{1,10})$/;
const MOST_LINE_BYTES = "CONNECT 4294967295".length;
const MOST_PORT = 0xffff_ffff;
const NEWLINE = 0x0a;

export class Handshake {
  state: "open" | "gone" = "open";
  readonly #byte = new Uint8Array(1);
  #line = "";
  #socket: UnixSocket | undefined;

  constructor(socket: UnixSocket) {
    this.#socket = socket;
    this.fd = socket.fd;
  }

  readonly fd: number;

  get interest(): number {
    return this.state === "open" ? POLLIN : 0;
  }

  /** The port, once the line is there. Byte by byte: what follows is for the guest. */
  read(): number | undefined {
    try {
      for (;;) {
        const got = this.#socket!.receive(this.#byte);
        if (got < 0) return undefined;
        if (got === 1 && this.#byte[0] === NEWLINE) return this.#port();
        this.#line += String.fromCharCode(this.#byte[0]!);
        if (got === 0 || this.#line.length > MOST_LINE_BYTES) break;
      }
    } catch {
      // It has gone.
    }
    this.state = "gone";
    return undefined;
  }

  #port(): number | undefined {
    const port = Number(LINE.exec(this.#line)?.[1] ?? Number.NaN);
    if (port <= MOST_PORT) return port;
    this.state = "gone";
    return undefined;
  }

  /** The socket is a connection's from now on. */
  release(): UnixSocket {
    const socket = this.#socket!;
    this.#socket = undefined;
    this.state = "gone";
    return socket;
  }

  close(): void {
    this.state = "gone";
    this.#socket?.close();
  }
}
