/** `vmm sandbox`: a command in a machine of its own, on the host's own root. */
import { constants } from "node:os";
import { Kvm } from "@tools-kvm/kvm-binding";
import { BootError } from "../boot/errors.js";
import { ConsoleHub } from "../console/hub.js";
import { NameTakenError } from "../control/registry.js";
import { type ControlServer, serve } from "../control/server.js";
import type { GuestStream } from "../machine/guest-stream.js";
import { Machine, type MachineEnd } from "../machine/machine.js";
import { maxVcpus } from "../machine/virtual-machine.js";
import { SandboxLine } from "../sandbox/line.js";
import { CliError } from "./errors.js";
import { crashScreen } from "./reports.js";
import type { RunPlan } from "./run-options.js";
import { planSandbox, SANDBOX_FAILED, SANDBOX_PORT, type SandboxOptions } from "./sandbox-options.js";
import { openTerminal } from "./terminal.js";

/** Three of these in a row end the sandbox, whatever its command does. */
const CTRL_RIGHT_BRACKET = 0x1d;
const PRESSES_TO_END = 3;
const PASSED_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const;
/** A status of a shell's for what a signal ended. */
const SIGNALLED = 128;

export async function sandbox(command: readonly string[], options: SandboxOptions): Promise<number> {
  using kvm = Kvm.open();
  const hasTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  let box: Sandbox | undefined;
  const onLog = (message: string): void => (box === undefined ? say(message) : box.log(message));
  const { plan, close } = await planSandbox(command, options, { maxCpus: maxVcpus(kvm), hasTerminal, onLog });
  try {
    box = new Sandbox(plan, options.memory, hasTerminal);
    return await box.run();
  } finally {
    close();
  }
}

const say = (message: string): void => void process.stderr.write(`vmm: sandbox: ${message}\n`);

class Sandbox {
  readonly #plan: RunPlan;
  /** As it was asked for. */
  readonly #memory: string;
  readonly #hasTerminal: boolean;
  readonly #machine: Machine;
  readonly #line: SandboxLine;
  #status: number | undefined;
  #failure: string | undefined;
  #signals = 0;
  #presses = 0;

  constructor(plan: RunPlan, memory: string, hasTerminal: boolean) {
    this.#plan = plan;
    this.#memory = memory;
    this.#hasTerminal = hasTerminal;
    this.#line = new SandboxLine({
      send: (bytes) => void this.#port.receive(bytes),
      onOutput: (bytes) => void this.#write(process.stdout, bytes),
      onErrors: (bytes) => void this.#write(process.stderr, bytes),
      onStatus: (status) => {
        this.#status = status;
        void this.#machine.stop();
      },
      onFailure: (message) => {
        this.#failure = message;
        void this.#machine.stop();
      },
      onRoom: (hasRoom) => void (hasRoom ? process.stdin.resume() : process.stdin.pause()),
    });
    const release = (): void => this.#port.release();
    process.stdout.on("drain", release);
    process.stderr.on("drain", release);
    this.#machine = new Machine({
      spec: plan.spec,
      resetOnRequest: false,
      onOutput: (output, bytes) => {
        if (output === "serial") this.#line.pushSerial(bytes);
        return true;
      },
      onLog: (message) => this.log(message),
    });
    this.#port.connect({
      onOutput: (bytes) => {
        this.#line.push(bytes);
        return !process.stdout.writableNeedDrain && !process.stderr.writableNeedDrain;
      },
      // There is never more on its way than the guest has given credit for.
      onInputTaken: () => {},
    });
  }

  get #port(): GuestStream {
    return this.#machine.ports.get(SANDBOX_PORT)!;
  }

  async run(): Promise<number> {
    const machine = this.#machine;
    const hub = new ConsoleHub({ onInput: () => {}, onDrain: () => {} });
    const server = await this.#register(hub);
    const restore = this.#connect();
    let end: MachineEnd;
    try {
      machine.start(this.#plan.source);
      end = await machine.ended;
    } catch (error) {
      await machine.stop();
      if (error instanceof BootError) throw new CliError(`--memory ${this.#memory}: ${error.message}`);
      throw error;
    } finally {
      restore();
      hub.close();
      server.close();
    }
    return this.#result(end);
  }

  /** What the devices have to say, while there is a command whom it could concern. */
  log(message: string): void {
    if (this.#status === undefined) say(message);
  }

  /** `vmm ps` shows it, `vmm stop` ends it. */
  async #register(hub: ConsoleHub): Promise<ControlServer> {
    const { spec, kernel } = this.#plan;
    try {
      return await serve({ machine: this.#machine, kernel, viewers: () => hub.viewers }, hub);
    } catch (error) {
      await this.#machine.stop();
      if (error instanceof NameTakenError) throw new CliError(`--name ${spec.name}: ${error.message}`);
      throw error;
    }
  }

  /** Joins the command with whatever this process was started with. Returns what undoes it. */
  #connect(): () => void {
    const { stdin, stdout } = process;
    const onSignal = (signal: NodeJS.Signals): void => this.#onSignal(signal);
    const onResize = (): void => this.#line.resize(stdout.columns, stdout.rows);
    const onEnd = (): void => this.#line.endInput();
    const onBrokenPipe = (): void => this.#end(constants.signals.SIGPIPE);
    for (const name of PASSED_SIGNALS) process.on(name, onSignal);
    if (this.#hasTerminal) stdout.on("resize", onResize);
    stdin.on("end", onEnd).on("error", onEnd);
    stdout.on("error", onBrokenPipe);
    const terminal = openTerminal((bytes) => this.#input(bytes), { raw: this.#hasTerminal });
    return () => {
      terminal.restore();
      for (const name of PASSED_SIGNALS) process.off(name, onSignal);
      stdout.off("resize", onResize).off("error", onBrokenPipe);
      stdin.off("end", onEnd).off("error", onEnd);
    };
  }

  #input(bytes: Uint8Array): void {
    if (this.#hasTerminal) {
      for (const byte of bytes) this.#presses = byte === CTRL_RIGHT_BRACKET ? this.#presses + 1 : 0;
      if (this.#presses >= PRESSES_TO_END) this.#end(constants.signals.SIGKILL);
    }
    this.#line.input(bytes);
  }

  /** The first goes to the command; whoever asks again wants it over. */
  #onSignal(signal: NodeJS.Signals): void {
    this.#signals++;
    const number = constants.signals[signal];
    if (this.#line.isReady && this.#signals === 1) {
      this.#line.signal(number);
      return;
    }
    this.#end(number);
  }

  /** Ends it all, with the status of a command that the signal ended. */
  #end(signal: number): void {
    this.#status ??= SIGNALLED + signal;
    void this.#machine.stop();
  }

  #write(stream: NodeJS.WriteStream, bytes: Uint8Array): void {
    // The bytes are a view of a buffer that the machine will use again.
    stream.write(Uint8Array.from(bytes));
  }

  #result(end: MachineEnd): number {
    if (this.#status !== undefined) return this.#status;
    const { name } = this.#plan.spec;
    if (this.#failure !== undefined) {
      say(this.#failure);
      return SANDBOX_FAILED;
    }
    // By vmm stop.
    if (end.why === "stopped") return SIGNALLED + constants.signals.SIGKILL;
    if (end.why === "crashed") process.stderr.write(`${crashScreen(name, end.report)}\n`);
    process.stderr.write(this.#line.console);
    say(end.why === "failed" ? end.message : `the machine ended (${end.why}) before its command did`);
    return SANDBOX_FAILED;
  }
}
