/**
 * The Ctrl-A prefix of a terminal console. Everything else passes through to the guest untouched, Ctrl-C included.
 */
const CTRL_A = 0x01;

export type EscapeCommand = "quit" | "monitor" | "help";

const COMMANDS: Record<string, EscapeCommand> = { x: "quit", c: "monitor", h: "help", "?": "help" };

export const ESCAPE_HELP = "Ctrl-A x ends the machine, Ctrl-A c opens the monitor, Ctrl-A Ctrl-A sends Ctrl-A";

export interface EscapeHandlers {
  onBytes(bytes: Uint8Array): void;
  onCommand(command: EscapeCommand): void;
}

export class EscapeReader {
  readonly #handlers: EscapeHandlers;
  #pending = false;

  constructor(handlers: EscapeHandlers) {
    this.#handlers = handlers;
  }

  /** Takes what was typed. A prefix and its letter may come in different pieces. */
  push(bytes: Uint8Array): void {
    let passed: number[] = [];
    const flush = (): void => {
      if (passed.length > 0) this.#handlers.onBytes(Uint8Array.from(passed));
      passed = [];
    };
    for (const byte of bytes) {
      if (!this.#pending) {
        if (byte === CTRL_A) this.#pending = true;
        else passed.push(byte);
        continue;
      }
      this.#pending = false;
      const command = COMMANDS[String.fromCharCode(byte).toLowerCase()];
      if (command !== undefined) {
        flush();
        this.#handlers.onCommand(command);
      } else if (byte === CTRL_A) {
        passed.push(CTRL_A);
      }
      // Any other letter after Ctrl-A is swallowed, as a mistyped command.
    }
    flush();
  }
}
