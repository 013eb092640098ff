/** Opens the places that a guest's bytes go to. */
import { constants, createWriteStream, fstatSync, ftruncateSync, openSync } from "node:fs";
import { type Readable, Writable } from "node:stream";
import { ReadStream, WriteStream } from "node:tty";
import { Pty } from "@tools-kvm/kvm-binding";
import { CliError, whyNot } from "./errors.js";
import type { Sink } from "./run-options.js";

export interface OpenSink {
  readonly output?: Writable;
  /** Bytes that come back the same way: only a pty has them. */
  readonly input?: Readable;
  /** One line for the user, when the place has a name he must know. */
  readonly announcement?: string;
  /** The machine begins: what an earlier one left here goes. */
  begin?(): void;
  close(): Promise<void>;
}

export function openSink(option: string, sink: Sink): OpenSink {
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
      return openPty();
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

function openPty(): OpenSink {
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
    announcement: `serial port on ${pty.path}`,
    close: async () => {
      input.destroy();
      terminal.destroy();
      pty.close();
    },
  };
}
