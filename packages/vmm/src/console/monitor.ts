/**
 * The monitor line (Ctrl-A c): a prompt on the terminal, beside the guest that runs on. It knows how lines are typed;
 * what a command does is `cli/monitor-commands.ts`.
 */
const PROMPT = "(vmm) ";
const CTRL_A = 0x01;
const CTRL_C = 0x03;
const CTRL_D = 0x04;
const BACKSPACE = 0x08;
const ENTER = 0x0d;
const NEWLINE = 0x0a;
const CTRL_U = 0x15;
const ESCAPE = 0x1b;
const DELETE = 0x7f;

export interface MonitorOptions {
  write(text: string): void;
  /** Runs a command and returns what to print; undefined when there is nothing left to talk to. */
  run(line: string): Promise<string | undefined>;
  /** The user went back to the guest. */
  onClose(): void;
}

export class Monitor {
  readonly #options: MonitorOptions;
  #line = "";
  #open = false;
  #busy: Promise<void> = Promise.resolve();

  constructor(options: MonitorOptions) {
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#open;
  }

  open(): void {
    if (this.#open) return;
    this.#open = true;
    this.#line = "";
    this.#options.write(`\r\nmonitor: help lists the commands, an empty line goes back to the guest\r\n${PROMPT}`);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#options.write("\r\n");
    this.#options.onClose();
  }

  /** The machine has ended, and whoever owns the terminal takes it back: no prompt comes any more. */
  abandon(): void {
    this.#open = false;
  }

  /** Takes what was typed, for as long as the monitor is open. Returns the rest, which is for the guest. */
  push(bytes: Uint8Array): Uint8Array {
    let taken = 0;
    while (this.#open && taken < bytes.length) this.#key(bytes[taken++]!);
    return bytes.subarray(taken);
  }

  #key(byte: number): void {
    const { write } = this.#options;
    switch (byte) {
      case ENTER:
      case NEWLINE:
        this.#enter();
        break;
      case BACKSPACE:
      case DELETE:
        if (this.#line.length > 0) {
          this.#line = this.#line.slice(0, -1);
          write("\b \b");
        }
        break;
      case CTRL_U:
        write("\b \b".repeat(this.#line.length));
        this.#line = "";
        break;
      case CTRL_A:
      case CTRL_C:
      case CTRL_D:
      case ESCAPE:
        this.close();
        break;
      default:
        if (byte >= 0x20 && byte < 0x7f) {
          this.#line += String.fromCharCode(byte);
          write(String.fromCharCode(byte));
        }
    }
  }

  #enter(): void {
    const line = this.#line.trim();
    this.#line = "";
    if (line === "") {
      this.close();
      return;
    }
    this.#options.write("\r\n");
    this.#busy = this.#busy.then(async () => {
      const answer = await this.#options.run(line).catch((error: Error) => error.message);
      if (answer === undefined) {
        this.#open = false;
        return;
      }
      this.#options.write(answer === "" ? "" : `${answer.replaceAll("\n", "\r\n")}\r\n`);
      if (this.#open) this.#options.write(PROMPT);
    });
  }
}
