/** A terminal as a shell leaves it, and what is on its screen: a real pseudo-terminal, looked at from its other side. */
import { spawnSync } from "node:child_process";
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { Pty, type Watch, watch } from "@tools-kvm/kvm-binding";
import { HANG_MS, type Process } from "./process.js";
import type { Scratch } from "./scratch.js";

export class Terminal {
  readonly #pty = Pty.open();
  readonly #watch: Watch;
  #screen = "";
  #onOutput: () => void = () => {};

  constructor() {
    spawnSync("stty", ["-F", this.#pty.path, "sane"]);
    this.resize(80, 24);
    const bytes = Buffer.alloc(64 * 1024);
    this.#watch = watch(this.#pty, () => {
      // The terminal adds a carriage return to each newline, also where the guest has sent one.
      this.#screen += bytes.toString("latin1", 0, readSync(this.#pty.fd, bytes)).replaceAll("\r", "");
      this.#onOutput();
    });
  }

  get path(): string {
    return this.#pty.path;
  }

  get length(): number {
    return this.#screen.length;
  }

  /** What has been written since the screen had `from` characters. */
  text(from = 0): string {
    return this.#screen.slice(from);
  }

  /** The terminal's settings, as stty's one line. */
  settings(): string {
    return spawnSync("stty", ["-F", this.path, "-g"], { encoding: "utf8" }).stdout;
  }

  resize(columns: number, rows: number): void {
    spawnSync("stty", ["-F", this.path, "cols", String(columns), "rows", String(rows)]);
  }

  /** False while keys come as they are typed, without echo. */
  get isCooked(): boolean {
    const { stdout } = spawnSync("stty", ["-F", this.path, "-a"], { encoding: "utf8" });
    return ["icanon", "echo", "isig"].every((flag) => new RegExp(`(^|\\s)${flag}\\b`).test(stdout));
  }

  type(keys: string): void {
    writeSync(this.#pty.fd, Buffer.from(keys, "latin1"));
  }

  async until(pattern: string | RegExp, from = 0): Promise<void> {
    const matches = (): boolean => {
      const text = this.text(from);
      return typeof pattern === "string" ? text.includes(pattern) : pattern.test(text);
    };
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ${pattern} on the screen:\n${this.text(from)}`)), HANG_MS);
      this.#onOutput = () => {
        if (!matches()) return;
        clearTimeout(timer);
        resolve();
      };
      this.#onOutput();
    });
    this.#onOutput = () => {};
  }

  /** Starts the scratch's program with this terminal as its standard input, output and error. */
  start(scratch: Scratch, args: readonly string[]): Process {
    const fd = openSync(this.path, constants.O_RDWR | constants.O_NOCTTY);
    try {
      return scratch.start(args, { stdio: [fd, fd, fd] });
    } finally {
      closeSync(fd);
    }
  }

  close(): void {
    this.#watch.close();
    this.#pty.close();
  }
}
