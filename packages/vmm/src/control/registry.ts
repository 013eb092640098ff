/**
 * Where running machines can be found: one unix socket each, named after the machine, in a folder of the user's own.
 * A socket whose machine is gone is removed by whoever notices.
 */
import { chmodSync, existsSync, linkSync, lstatSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { isMachineName } from "../machine/spec.js";

const SUFFIX = ".sock";
const FOLDER = "tools-kvm";

/** `$XDG_RUNTIME_DIR/tools-kvm`, or for root `/run/tools-kvm`, or `~/.tools-kvm`. */
export function registryFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.XDG_RUNTIME_DIR) return join(env.XDG_RUNTIME_DIR, FOLDER);
  if (process.getuid?.() === 0 && existsSync("/run")) return join("/run", FOLDER);
  return join(env.HOME ?? homedir(), `.${FOLDER}`);
}

/** Somebody else already runs a machine of that name. */
export class NameTakenError extends Error {
  override readonly name = "NameTakenError";
  constructor(machine: string) {
    super(
      `a machine named ${machine} is already running; \`vmm stop ${machine}\` ends it, --name gives this one another`,
    );
  }
}

/** What fits into a unix socket's address (unix(7), sun_path) before its final zero. */
const MAX_PATH_BYTES = 107;

function socketPath(name: string): string {
  const path = join(registryFolder(), name + SUFFIX);
  if (Buffer.byteLength(path) <= MAX_PATH_BYTES) return path;
  throw new Error(`${path}: too long for a socket; give a shorter --name or XDG_RUNTIME_DIR`);
}

/** Opens the machine's socket, mode 0600, and serves `onConnection`. Throws NameTakenError. */
export async function register(name: string, onConnection: (socket: Socket) => void): Promise<Server> {
  const path = socketPath(name);
  mkdirSync(registryFolder(), { recursive: true, mode: 0o700 });
  const temporary = join(registryFolder(), `.${process.pid}-${registrations++}`);
  const server = await listen(temporary, onConnection);
  try {
    await publish(temporary, path, name);
    return server;
  } catch (error) {
    server.close();
    throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
}

let registrations = 0;

/**
 * Gives a socket that already listens its name, in one step: between bind and listen it would refuse everybody, and whoever
 * came then would take the machine for gone.
 */
async function publish(temporary: string, path: string, name: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      linkSync(temporary, path);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST" || attempt > 0) throw error;
      if (await isAlive(path)) throw new NameTakenError(name);
      rmSync(path, { force: true });
    }
  }
}

function listen(path: string, onConnection: (socket: Socket) => void): Promise<Server> {
  return new Promise((resolve, reject) => {
    // A client may say that it asks no more (`echo ... | nc -U`) and still wants its answer.
    const server = createServer({ allowHalfOpen: true }, onConnection);
    server.once("error", reject);
    // The umask decides the socket's mode at bind: nobody else may connect, not even for a moment.
    const umask = process.umask(0o177);
    server.listen(path, () => {
      chmodSync(path, 0o600);
      resolve(server);
    });
    process.umask(umask);
  });
}

/** Removes the machine's socket; for the moment of exit, too, when nothing can be awaited any more. */
export function unregister(name: string): void {
  rmSync(socketPath(name), { force: true });
}

/** Connects to a machine; undefined when no machine of that name runs (a dead socket is removed). */
export async function open(name: string): Promise<Socket | undefined> {
  // What is no name is no path either: nobody is to reach, or remove, a socket elsewhere.
  if (!isMachineName(name)) return undefined;
  const path = socketPath(name);
  const socket = await tryConnect(path);
  if (socket === undefined && isSocket(path)) rmSync(path, { force: true });
  return socket;
}

/** Names with a socket, dead or alive, in order. */
export function registeredNames(): string[] {
  const folder = registryFolder();
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((file) => file.endsWith(SUFFIX))
    .map((file) => file.slice(0, -SUFFIX.length))
    .filter(isMachineName)
    .sort();
}

async function isAlive(path: string): Promise<boolean> {
  const socket = await tryConnect(path);
  socket?.destroy();
  return socket !== undefined;
}

function isSocket(path: string): boolean {
  try {
    return lstatSync(path).isSocket();
  } catch {
    return false;
  }
}

/** Nobody listens, nothing is there, or whoever listened closed while we waited for our turn. */
const NOBODY_THERE = new Set(["ECONNREFUSED", "ENOENT", "ECONNRESET"]);

/** Undefined when nobody listens; any other failure (no permission) is thrown. */
function tryConnect(path: string): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.removeAllListeners("error");
      // A machine may end at any time; whoever reads sees the end.
      socket.on("error", () => socket.destroy());
      resolve(socket);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (NOBODY_THERE.has(error.code ?? "")) resolve(undefined);
      else reject(error);
    });
  });
}
