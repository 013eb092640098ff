/**
 * The console device on sockets of the host's. Both ends may be slow: what the host sends is read when the guest has room for it, and
 * what the guest sends is taken when the host has. Neither waits for the other's other direction, nor for another port.
 */
import { EventFd, POLLERR, POLLHUP, POLLIN, POLLOUT, Poller } from "@tools-kvm/kvm-binding";
import type { Negotiated, VirtioBackend } from "../../device.js";
import { type Virtqueue, VirtqueueFault } from "../../virtqueue.js";
import { takeBytes, totalBytes } from "../block/buffers.js";
import { CONSOLE_FEATURE, CONSOLE_QUEUE, portQueues } from "./console.js";
import { CONTROL, CONTROL_BYTES, type ControlMessage, controlBytes, parseControl } from "./control.js";
import { HostEnd, type HostSource } from "./host-end.js";

export type ConsoleBackendOptions =
  /** One terminal. */
  | { readonly terminal: HostSource }
  /** In the order of their ids, from 1 on. */
  | { readonly ports: readonly { readonly name: string; readonly source: HostSource }[] };

/** Linux sends a page or a line at once, and splice(2) what a pipe has. */
export const MOST_CHAIN_BYTES = 2 ** 20;
/** Chains of a queue before others have their turn. */
const CHAINS_A_TURN = 64;
/** How long a reader may take for the last that the guest has sent. */
const LAST_BYTES_MS = 1_000;
/** Key of what is no port; port `index` has 2 * index for its socket and 2 * index + 1 for its listener. */
const MORE = -1;

/** A port as both sides know it. */
interface Port {
  readonly id: number;
  readonly name: string;
  readonly end: HostEnd;
  readonly watched: { socket: number; listener: boolean };
  /** How far the driver has come with it. */
  stage: "unknown" | "added" | "ready" | "named";
  /** What the driver was told last. */
  toldOpen: boolean;
  /** A program of the guest's has it open. */
  guestOpen: boolean;
}

/** A queue that the driver has in use, or nothing. */
type ReadyQueue = (index: number) => Virtqueue | undefined;

export class ConsoleBackend implements VirtioBackend {
  readonly attendant: NonNullable<VirtioBackend["attendant"]>;
  readonly #hasControl: boolean;
  readonly #ports: readonly Port[];
  readonly #poller = new Poller();
  /** Makes the poller ready when there is more to do than one turn. */
  readonly #more = EventFd.create();
  #control: Virtqueue | undefined;
  #deviceReady = false;
  /** A queue's turn has ended before the queue did. */
  #turnEnded = false;
  /** The queue of a driver that has been told to read the size. */
  #announcedTo: Virtqueue | undefined;

  /** Closes the sockets when it is closed. */
  constructor(options: ConsoleBackendOptions) {
    this.#hasControl = "ports" in options;
    this.#ports =
      "ports" in options
        ? options.ports.map(({ name, source }, index) => this.#makePort(index + 1, name, source))
        : [Object.assign(this.#makePort(0, "", options.terminal), { guestOpen: true })];
    this.#poller.add(this.#more, MORE);
    const isBehind = (): boolean => this.#turnEnded || this.#ports.some(({ end }) => !end.takesMore);
    this.attendant = {
      fd: this.#poller.fd,
      get isBehind() {
        return isBehind();
      },
      attend: (...from) => this.#attend(...from),
    };
    for (const port of this.#ports) this.#settle(port);
  }

  #makePort(id: number, name: string, source: HostSource): Port {
    const watched = { socket: 0, listener: false };
    const end = new HostEnd(source, (socket) => {
      if (watched.socket !== 0) this.#poller.remove(socket);
      watched.socket = 0;
    });
    return { id, name, end, watched, stage: "unknown", toldOpen: false, guestOpen: false };
  }

  /** All queues are attended. */
  handle(): number {
    return 0;
  }

  #attend(ready: ReadyQueue, negotiated: Negotiated, announceConfig: () => void): void {
    this.#more.take();
    this.#turnEnded = false;
    this.#hearHost();
    const hasControl = this.#hasControl && negotiated.has(CONSOLE_FEATURE.MULTIPORT);
    if (hasControl) this.#hearDriver(ready(CONSOLE_QUEUE.CONTROL_RX), ready(CONSOLE_QUEUE.CONTROL_TX));
    for (const port of this.#ports) {
      const { rx, tx } = portQueues(port.id);
      const queue = ready(tx);
      const hasSpoken = this.#fromGuest(port, queue);
      // Linux reads a terminal's size when it hears that it has changed, and not before it has the terminal: when that says something.
      if (!this.#hasControl && hasSpoken && queue !== this.#announcedTo) {
        this.#announcedTo = queue;
        announceConfig();
      }
      this.#toGuest(port, ready(rx));
    }
    if (hasControl) this.#tellDriver(ready(CONSOLE_QUEUE.CONTROL_RX));
    for (const port of this.#ports) this.#settle(port);
  }

  #hearHost(): void {
    const count = this.#poller.wait(0);
    for (let i = 0; i < count; i++) {
      const key = this.#poller.readyKeys[i]!;
      if (key === MORE) continue;
      const { end } = this.#ports[key >> 1]!;
      const events = this.#poller.readyEvents[i]!;
      if ((key & 1) === 1) end.accept();
      else
        end.hear({
          in: (events & POLLIN) !== 0,
          out: (events & POLLOUT) !== 0,
          end: (events & (POLLHUP | POLLERR)) !== 0,
        });
    }
  }

  /** Waits for what a port has a use for. */
  #settle(port: Port): void {
    const { end, watched } = port;
    const key = 2 * this.#ports.indexOf(port);
    const { socket, interest } = end;
    if (socket !== undefined) {
      if (interest === 0 && watched.socket !== 0) this.#poller.remove(socket);
      else if (interest !== 0 && watched.socket === 0) this.#poller.add(socket, key, interest);
      else if (interest !== watched.socket) this.#poller.modify(socket, key, interest);
      watched.socket = interest;
    }
    // The next client comes when the driver knows that the last one has gone.
    const wantsClient = end.listener !== undefined && socket === undefined && !port.toldOpen;
    if (wantsClient && !watched.listener) this.#poller.add(end.listener!, key + 1);
    else if (!wantsClient && watched.listener) this.#poller.remove(end.listener!);
    watched.listener = wantsClient;
  }

  /** True when the guest has sent something. */
  #fromGuest({ end }: Port, queue: Virtqueue | undefined): boolean {
    if (queue === undefined) return false;
    let hasSpoken = false;
    this.#turn(queue, () => {
      if (!end.takesMore) return "wait";
      const chain = queue.next();
      if (chain === undefined) return "dry";
      const length = totalBytes(chain.readable);
      if (length > MOST_CHAIN_BYTES) throw new VirtqueueFault(`${length} bytes at once`);
      end.send(chain.readable);
      hasSpoken = true;
      queue.complete(chain, 0);
      return "more";
    });
    return hasSpoken;
  }

  #toGuest({ end, guestOpen }: Port, queue: Virtqueue | undefined): void {
    if (queue === undefined || !guestOpen || !end.isReadable) return;
    this.#turn(queue, () => {
      if (!end.isReadable) return "wait";
      const chain = queue.next();
      if (chain === undefined) return "dry";
      if (chain.writable.length === 0) throw new VirtqueueFault("a buffer for input that cannot be written");
      let written = 0;
      for (const buffer of chain.writable) {
        const got = end.receive(buffer);
        written += got;
        if (got < buffer.length) break;
      }
      if (written === 0) queue.putBack([chain]);
      else queue.complete(chain, written);
      return "more";
    });
  }

  /** Steps until there is nothing to do, or others want their turn. The driver notifies when the queue had run dry. */
  #turn(queue: Virtqueue, step: () => "more" | "dry" | "wait"): void {
    queue.disableNotifications();
    for (let left = CHAINS_A_TURN; left > 0; left--) {
      const result = step();
      if (result === "wait") return;
      if (result === "dry" && !queue.enableNotifications()) return;
    }
    this.#turnEnded = true;
    this.#more.signal();
  }

  #hearDriver(control: Virtqueue | undefined, queue: Virtqueue | undefined): void {
    // A driver that has begun anew knows nothing.
    if (control !== this.#control) {
      this.#control = control;
      this.#forget();
    }
    if (queue === undefined) return;
    this.#turn(queue, () => {
      const chain = queue.next();
      if (chain === undefined) return "dry";
      const bytes = takeBytes(chain.readable, CONTROL_BYTES);
      if (bytes === undefined) throw new VirtqueueFault(`a control message of ${totalBytes(chain.readable)} bytes`);
      this.#obey(parseControl(bytes));
      queue.complete(chain, 0);
      return "more";
    });
  }

  #forget(): void {
    this.#deviceReady = false;
    for (const port of this.#ports) Object.assign(port, { stage: "unknown", toldOpen: false, guestOpen: false });
  }

  /** What is said of ports that there are not, or at the wrong time, has no meaning. */
  #obey({ id, event, value }: ControlMessage): void {
    if (event === CONTROL.DEVICE_READY) this.#deviceReady ||= value === 1;
    const port = this.#ports.find((each) => each.id === id);
    if (port === undefined) return;
    if (event === CONTROL.PORT_READY && value === 1 && port.stage === "added") port.stage = "ready";
    if (event === CONTROL.PORT_OPEN) port.guestOpen = value === 1;
  }

  #tellDriver(queue: Virtqueue | undefined): void {
    if (queue === undefined) return;
    this.#turn(queue, () => {
      const next = this.#nextMessage();
      if (next === undefined) return "wait";
      const chain = queue.next();
      if (chain === undefined) return "dry";
      if (totalBytes(chain.writable) < next.bytes.length)
        throw new VirtqueueFault(`a buffer of ${totalBytes(chain.writable)} bytes for control messages`);
      queue.complete(chain, scatter(chain.writable, next.bytes));
      Object.assign(next.port, next.told);
      return "more";
    });
  }

  /** What the driver does not know yet of a port, and how the port is when it does. */
  #nextMessage(): { port: Port; bytes: Uint8Array; told: Partial<Port> } | undefined {
    if (!this.#deviceReady) return undefined;
    for (const port of this.#ports) {
      const { id, stage, name, toldOpen } = port;
      const isOpen = port.end.socket !== undefined;
      const bytes = (event: number, value: number, text?: string) => controlBytes({ id, event, value }, text);
      if (stage === "unknown") return { port, bytes: bytes(CONTROL.DEVICE_ADD, 0), told: { stage: "added" } };
      if (stage === "ready") return { port, bytes: bytes(CONTROL.PORT_NAME, 1, name), told: { stage: "named" } };
      if (stage === "named" && toldOpen !== isOpen)
        return { port, bytes: bytes(CONTROL.PORT_OPEN, Number(isOpen)), told: { toldOpen: isOpen } };
    }
    return undefined;
  }

  close(): void {
    for (const { end, watched } of this.#ports) {
      if (watched.listener) this.#poller.remove(end.listener!);
      end.close(LAST_BYTES_MS);
    }
    this.#poller.close();
    this.#more.close();
  }
}

/** Copies `bytes` into buffers that have room for them. */
function scatter(buffers: readonly Uint8Array[], bytes: Uint8Array): number {
  let done = 0;
  for (const buffer of buffers) {
    const piece = bytes.subarray(done, done + buffer.length);
    buffer.set(piece);
    done += piece.length;
  }
  return done;
}
