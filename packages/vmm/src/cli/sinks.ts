/** Opens the places that a guest's bytes go to. */
import { constants, createWriteStream, fstatSync, ftruncateSync, openSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { type Duplex, type Readable, Writable } from "node:stream";
import { ReadStream, WriteStream } from "node:tty";
import { Pty } from "@tools-kvm/kvm-binding";
import { removeStale } from "../host/socket-file.js";
import { CliError, whyNot } from "./errors.js";
import type { Sink } from "./sink-option.js";

export interface OpenSink {
  readonly output?: Writable;
  /** Bytes that come back the same way: only a pty has them. */
  readonly input?: Readable;
  /** One line for the user, when the place has a name he must know. */
  readonly announcement?: string;
  /** The machine begins: what an earlier one left here goes. */
  begin?(): void | Promise<void>;
  /** Called for each who comes to look; set it before `begin`. */
  onViewer?: (viewer: Duplex) => void;
  close(): Promise<void>;
}

/** @param what as a pty's announcement calls it */
export function openSink(option: string, sink: Sink, what: string): OpenSink {
  switch (sink.kind) {
    case "null":
      return { close: async () => {} };
    case "stdio":
      return { output: process.stdout, close: () => flushed(process.stdout) };
    case "stderr":
      return { output: process.stderr, close: () => flushed(process.stderr) };
    case "file":
      return openFile(option, sink.path);
    case "pty":
      return openPty(what);
    case "socket":
      return openSocket(option, sink.path);
  }
}

/** Resolves when everything written so far has been handed to the kernel. */
function flushed(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed) resolve();
    else stream.write("", () => resolve());
  });
}

function openFile(option: string, path: string): OpenSink {
  let fd: number;
  try {
    // Not emptied yet: another machine of the same name may be writing to it, and then this one will not run.
    fd = openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o666);
  } catch (error) {
    throw new CliError(`${option} file:${path}: ${whyNot(error)}`);
  }
  const output = createWriteStream(path, { fd });
  return {
    output,
    begin() {
      // A pipe or a device has no length.
      if (fstatSync(fd).isFile()) ftruncateSync(fd);
    },
    close: () => new Promise((resolve) => void output.end(() => resolve())),
  };
}

/** Nobody may be looking at a pty; then this much is kept for whoever opens it, and the rest is gone. */
const PTY_BACKLOG_BYTES = 64 * 1024;

function openPty(what: string): OpenSink {
  const pty = Pty.open();
  const terminal = new WriteStream(pty.fd);
  const input = new ReadStream(pty.fd);
  input.on("error", () => {});
  terminal.on("error", () => {});
  const output = new Writable({
    write(chunk: Buffer, _encoding, done) {
      if (terminal.writableLength + chunk.length <= PTY_BACKLOG_BYTES) terminal.write(chunk);
      done();
    },
  });
  return {
    output,
    input,
    announcement: `${what} on ${pty.path}`,
    close: async () => {
      input.destroy();
      terminal.destroy();
      pty.close();
    },
  };
}

/** How long a viewer that does not read may keep an ended machine's process alive. */
const GOODBYE_MS = 1_000;

/** Everybody who connects is a viewer. */
function openSocket(option: string, path: string): OpenSink {
  const open: OpenSink = {
    begin: () =>
      new Promise((resolve, reject) => {
        removeStale(path);
        server.once("error", (error) => reject(new CliError(`${option} socket:${path}: ${whyNot(error)}`)));
        // The umask decides the socket's mode at bind: nobody else may connect, not even for a moment.
        const umask = process.umask(0o177);
        server.listen(path, () => resolve());
        process.umask(umask);
      }),
    async close() {
      if (!server.listening) return;
      server.close();
      setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, GOODBYE_MS).unref();
    },
  };
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => socket.destroy());
    open.onViewer?.(socket);
  });
  return open;
}
