/** Talks to running machines by name. */
import type { Socket } from "node:net";
import type { ActionName, ActionResult, MachineStatus, MoreOf, VmAction } from "./actions.js";
import { encode, type Reply, readLine } from "./protocol.js";
import { open, registeredNames } from "./registry.js";

/** A machine answers at once unless its process hangs or is stopped; a guest that is brought out of KVM takes 2 s at most. */
const ANSWER_TIMEOUT_MS = 5_000;
/** What a list of machines waits for the slowest of them. */
const STATUS_TIMEOUT_MS = 1_000;

/** No machine of that name, or it refused, or it does not answer. */
export class ClientError extends Error {
  override readonly name = "ClientError";
}

/** Asks one thing. Throws ClientError with what the machine said. */
export async function ask<N extends ActionName>(name: string, action: N, more?: MoreOf<N>): Promise<ActionResult[N]> {
  const { socket, result } = await reach(name, action, more);
  socket.destroy();
  return result;
}

/** Joins the console: the socket carries its bytes from here on. */
export async function attach(name: string): Promise<Socket> {
  return (await reach(name, "attach")).socket;
}

/** Whether a machine of that name is there, be it silent. */
export async function isRunning(name: string): Promise<boolean> {
  const socket = await open(name);
  socket?.destroy();
  return socket !== undefined;
}

export interface Running {
  readonly machines: readonly MachineStatus[];
  /** Machines whose process is there but does not answer. */
  readonly silent: readonly string[];
}

/** Every machine there is; sockets of machines that are gone are removed on the way. */
export async function running(): Promise<Running> {
  const machines: MachineStatus[] = [];
  const silent: string[] = [];
  await Promise.all(
    registeredNames().map(async (name) => {
      try {
        const { socket, result } = await converse(name, "status", { timeoutMs: STATUS_TIMEOUT_MS });
        socket.destroy();
        machines.push(result);
      } catch (error) {
        if (error instanceof SilentError) silent.push(name);
        else if (!(error instanceof ClientError)) throw error;
      }
    }),
  );
  return { machines: machines.sort((a, b) => (a.name < b.name ? -1 : 1)), silent: silent.sort() };
}

class SilentError extends ClientError {}
class GoneError extends ClientError {}

/** As `converse`; who asked for a machine by a wrong name learns which there are. */
async function reach<N extends ActionName>(name: string, action: N, more?: MoreOf<N>): ReturnType<typeof converse<N>> {
  try {
    return await converse(name, action, { more });
  } catch (error) {
    if (!(error instanceof GoneError)) throw error;
    const others = await liveNames();
    throw new ClientError(others.length > 0 ? `${error.message}; there are ${others.join(", ")}` : error.message);
  }
}

async function converse<N extends ActionName>(
  name: string,
  action: N,
  { more, timeoutMs = ANSWER_TIMEOUT_MS }: { more?: MoreOf<N> | undefined; timeoutMs?: number } = {},
): Promise<{ socket: Socket; result: ActionResult[N] }> {
  const socket = await open(name);
  if (socket === undefined) throw new GoneError(`no machine named ${name} is running`);
  socket.write(encode({ ...more, action } as VmAction));
  const timer = setTimeout(() => {
    socket.destroy(new SilentError(`${name} does not answer; it may be stopped, or hang`));
  }, timeoutMs);
  const line = await readLine(socket)
    .catch((error: Error) => {
      if (error instanceof ClientError) throw error;
      return undefined;
    })
    .finally(() => clearTimeout(timer));
  if (line === undefined) throw new ClientError(`${name} ended before it answered`);
  const reply = JSON.parse(line) as Reply<N>;
  if (!reply.ok) {
    socket.destroy();
    throw new ClientError(`${name}: ${reply.error}`);
  }
  return { socket, result: reply.result };
}

/** Machines that are there; sockets of those that are gone are removed on the way. */
async function liveNames(): Promise<string[]> {
  const names = registeredNames();
  const alive = await Promise.all(names.map(isRunning));
  return names.filter((_, index) => alive[index]);
}
