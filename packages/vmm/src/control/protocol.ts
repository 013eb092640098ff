/**
 * What goes over a machine's socket: one JSON object a line each way. After the answer to `attach` the connection is
 * the serial console, raw bytes both ways.
 */
import type { Socket } from "node:net";
import type { ActionName, ActionResult, VmAction } from "./actions.js";

export type Reply<N extends ActionName = ActionName> =
  | { readonly ok: true; readonly result: ActionResult[N] }
  | { readonly ok: false; readonly error: string };

/** Nobody's request is longer; what is gets cut off. */
export const MAX_REQUEST_BYTES = 64 * 1024;

const NEWLINE = 0x0a;

export function encode(message: VmAction | Reply): string {
  return `${JSON.stringify(message)}\n`;
}

/**
 * Reads one line. What follows it on the connection stays there for whoever listens next. Resolves to undefined when
 * the other side closes first; rejects when the line is longer than `limitBytes`.
 */
export function readLine(socket: Socket, limitBytes = Number.MAX_SAFE_INTEGER): Promise<string | undefined> {
  // It may have ended while nobody listened, and would not say so again.
  if (socket.readableEnded || socket.destroyed) return Promise.resolve(undefined);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const done = (finish: () => void): void => {
      socket.off("data", onData).off("end", onEnd).off("close", onEnd).off("error", onError).pause();
      finish();
    };
    const onData = (chunk: Buffer): void => {
      const end = chunk.indexOf(NEWLINE);
      length += end === -1 ? chunk.length : end;
      if (length > limitBytes) {
        done(() => reject(new RangeError(`a line of more than ${limitBytes} bytes`)));
        return;
      }
      chunks.push(end === -1 ? chunk : chunk.subarray(0, end));
      if (end === -1) return;
      done(() => {
        if (end + 1 < chunk.length) socket.unshift(chunk.subarray(end + 1));
        resolve(Buffer.concat(chunks).toString("utf8"));
      });
    };
    const onEnd = (): void => done(() => resolve(undefined));
    const onError = (error: Error): void => done(() => reject(error));
    socket.on("data", onData).on("end", onEnd).on("close", onEnd).on("error", onError).resume();
  });
}
