/** Answers on a machine's socket. */
import type { Server, Socket } from "node:net";
import type { ConsoleHub } from "../console/hub.js";
import { ActionError, parseAction } from "./actions.js";
import { type ControlledMachine, dispatch } from "./dispatch.js";
import { encode, MAX_REQUEST_BYTES, type Reply, readLine } from "./protocol.js";
import { register } from "./registry.js";

/** Registers the machine and serves until the server is closed. Throws NameTakenError. */
export function serve(controlled: ControlledMachine, console: ConsoleHub): Promise<Server> {
  return register(controlled.machine.spec.name, (socket) => {
    // A client may vanish at any time; that is its own affair.
    socket.on("error", () => socket.destroy());
    void converse(socket, controlled, console);
  });
}

async function converse(socket: Socket, controlled: ControlledMachine, console: ConsoleHub): Promise<void> {
  try {
    for (;;) {
      const line = await readLine(socket, MAX_REQUEST_BYTES);
      if (line === undefined) break;
      const { reply, attach } = await answer(line, controlled);
      socket.write(encode(reply));
      if (attach) {
        console.attach(socket);
        return;
      }
    }
  } catch {
    // An over-long line or a broken connection: nothing to answer to.
  }
  socket.destroy();
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
