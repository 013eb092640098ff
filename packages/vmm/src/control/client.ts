/** Talks to running machines by name. */
import type { Socket } from "node:net";
import type { ActionName, ActionResult, MachineStatus } from "./actions.js";
import { encode, type Reply, readLine } from "./protocol.js";
import { open, registeredNames } from "./registry.js";

/** No machine of that name, or it refused. */
export class ClientError extends Error {
  override readonly name = "ClientError";
}

/** Asks one thing. Throws ClientError with what the machine said. */
export async function ask<N extends ActionName>(name: string, action: N): Promise<ActionResult[N]> {
  const { socket, result } = await converse(name, action);
  socket.destroy();
  return result;
}

/** Joins the serial console: the socket carries its bytes from here on. */
export async function attach(name: string): Promise<Socket> {
  return (await converse(name, "attach")).socket;
}

/** Every machine that answers; the ones that do not are cleaned up on the way. */
export async function running(): Promise<MachineStatus[]> {
  const all = await Promise.all(registeredNames().map((name) => ask(name, "status").catch(() => undefined)));
  return all.filter((status) => status !== undefined);
}

async function converse<N extends ActionName>(
  name: string,
  action: N,
): Promise<{ socket: Socket; result: ActionResult[N] }> {
  const socket = await open(name);
  if (socket === undefined) throw new ClientError(await noSuchMachine(name));
  socket.write(encode({ action }));
  const line = await readLine(socket);
  if (line === undefined) throw new ClientError(`${name} ended before it answered`);
  const reply = JSON.parse(line) as Reply<N>;
  if (!reply.ok) {
    socket.destroy();
    throw new ClientError(`${name}: ${reply.error}`);
  }
  return { socket, result: reply.result };
}

async function noSuchMachine(name: string): Promise<string> {
  const others = registeredNames().filter((other) => other !== name);
  return `no machine named ${name} is running${others.length > 0 ? `; there are ${others.join(", ")}` : ""}`;
}
