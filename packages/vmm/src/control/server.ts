/** Answers on a machine's socket. */
import type { Socket } from "node:net";
import type { ConsoleHub } from "../console/hub.js";
import { ActionError, parseAction } from "./actions.js";
import { type ControlledMachine, dispatch } from "./dispatch.js";
import { encode, MAX_REQUEST_BYTES, type Reply, readLine } from "./protocol.js";
import { register, unregister } from "./registry.js";

/** How long a client that does not read may keep an ended machine's process alive. */
const GOODBYE_MS = 1_000;

export interface ControlServer {
  /** Takes no more clients, and lets those there are go once they have what was on its way to them. */
  close(): void;
}

/** Registers the machine and serves until closed. Throws NameTakenError. */
export async function serve(controlled: ControlledMachine, console: ConsoleHub): Promise<ControlServer> {
  const clients = new Set<Client>();
  const { name } = controlled.machine.spec;
  const server = await register(name, (socket) => {
    const client = new Client(socket, controlled, console);
    clients.add(client);
    socket.on("close", () => clients.delete(client));
    void client.converse();
  });
  return {
    close() {
      unregister(name);
      server.close();
      for (const client of clients) client.dismiss();
      setTimeout(() => {
        for (const client of clients) client.abandon();
      }, GOODBYE_MS).unref();
    },
  };
}

/** One connection: requests and answers, or the console. */
class Client {
  readonly #socket: Socket;
  readonly #controlled: ControlledMachine;
  readonly #console: ConsoleHub;
  #answering = false;
  #dismissed = false;

  constructor(socket: Socket, controlled: ControlledMachine, console: ConsoleHub) {
    this.#socket = socket;
    this.#controlled = controlled;
    this.#console = console;
    // A client may vanish at any time; that is its own affair.
    socket.on("error", () => socket.destroy());
  }

  async converse(): Promise<void> {
    const socket = this.#socket;
    try {
      while (!this.#dismissed) {
        const line = await readLine(socket, MAX_REQUEST_BYTES);
        if (line === undefined) break;
        this.#answering = true;
        const { reply, attach } = await answer(line, this.#controlled);
        this.#answering = false;
        socket.write(encode(reply));
        if (attach && !this.#dismissed) {
          this.#console.attach(socket);
          return;
        }
      }
      socket.end();
    } catch {
      // An over-long line or a broken connection: nothing to answer to.
      socket.destroy();
    }
  }

  dismiss(): void {
    this.#dismissed = true;
    if (!this.#answering) this.#socket.end();
  }

  abandon(): void {
    this.#socket.destroy();
  }
}

async function answer(line: string, controlled: ControlledMachine): Promise<{ reply: Reply; attach: boolean }> {
  try {
    const action = parseAction(parseJson(line));
    const result = await dispatch(controlled, action);
    return { reply: { ok: true, result }, attach: action.action === "attach" };
  } catch (error) {
    return { reply: { ok: false, error: (error as Error).message }, attach: false };
  }
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new ActionError("a request is one JSON object on one line");
  }
}
