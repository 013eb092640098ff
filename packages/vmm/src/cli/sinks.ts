/** Opens the places that a guest's bytes go to. */
import { createWriteStream, openSync } from "node:fs";
import { type Readable, Writable } from "node:stream";
import { ReadStream, WriteStream } from "node:tty";
import { Pty } from "@tools-kvm/kvm-binding";
import { CliError } from "./errors.js";
import type { Sink } from "./run-options.js";

export interface OpenSink {
  readonly output?: Writable;
  /** Bytes that come back the same way: only a pty has them. */
  readonly input?: Readable;
  /** One line for the user, when the place has a name he must know. */
  readonly announcement?: string;
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
    fd = openSync(path, "w");
  } catch (error) {
    throw new CliError(`${option} file:${path}: ${(error as Error).message}`);
  }
  const output = createWriteStream(path, { fd });
  return { output, close: () => new Promise((resolve) => void output.end(() => resolve())) };
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
