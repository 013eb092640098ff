/** `vmm attach NAME`: the console of a running machine on this terminal. */

import { EscapeReader } from "../console/escape.js";
import { ask, attach } from "../control/client.js";
import { EXIT } from "./errors.js";
import { openTerminal } from "./terminal.js";

export async function attachConsole(name: string): Promise<number> {
  const socket = await attach(name);
  // Not end(): what the machine still says need not be read for the viewer to go.
  const leave = (): void => socket.destroySoon();
  const reader = new EscapeReader({
    onBytes: (bytes) => socket.write(bytes),
    onCommand(command) {
      if (command === "quit") leave();
      else process.stderr.write("\r\nvmm: Ctrl-A x leaves the console; the machine runs on\r\n");
    },
  });
  if (process.stdin.isTTY) process.stderr.write(`vmm: attached to ${name}; Ctrl-A x leaves\r\n`);
  // The guest's terminal, if it has one that knows its size, is as large as ours.
  const { stdout } = process;
  const resize = (): void => {
    ask(name, "resize", { columns: stdout.columns, rows: stdout.rows }).catch(() => {});
  };
  if (stdout.isTTY) {
    stdout.on("resize", resize);
    resize();
  }
  const terminal = openTerminal((bytes) => (process.stdin.isTTY ? reader.push(bytes) : socket.write(bytes)));
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.once(signal, leave);
  // Nobody reads any more (`vmm attach NAME | head -1`).
  process.stdout.once("error", leave);
  socket.pipe(process.stdout, { end: false });
  await new Promise<void>((resolve) => socket.once("close", resolve).once("error", () => resolve()));
  terminal.restore();
  stdout.off("resize", resize);
  for (const signal of signals) process.off(signal, leave);
  if (process.stdin.isTTY) process.stderr.write(`\r\nvmm: left ${name}\r\n`);
  return EXIT.OK;
}
