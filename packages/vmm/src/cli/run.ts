/** `vmm run`: one machine, from its command line to its exit code. */
import { Kvm } from "@tools-kvm/kvm-binding";
import { BootError } from "../boot/errors.js";
import { ESCAPE_HELP, EscapeReader } from "../console/escape.js";
import { Monitor } from "../console/monitor.js";
import type { ExitRow } from "../control/actions.js";
import type { ControlledMachine } from "../control/dispatch.js";
import { exitRows } from "../control/exit-rows.js";
import { NameTakenError, unregister } from "../control/registry.js";
import { type ControlServer, serve } from "../control/server.js";
import { Machine, type MachineEnd } from "../machine/machine.js";
import { maxVcpus } from "../machine/virtual-machine.js";
import { CliError, EXIT } from "./errors.js";
import { GuestLine } from "./guest-line.js";
import { runMonitorCommand } from "./monitor-commands.js";
import { openPorts } from "./ports.js";
import { crashScreen, exitTable } from "./reports.js";
import { planRun, type RunOptions, type RunPlan } from "./run-options.js";
import type { Sink } from "./sink-option.js";
import { type OpenSink, openSink } from "./sinks.js";
import { openTerminal, type RawTerminal } from "./terminal.js";
import { planVirtio } from "./virtio-options.js";

/** Exit code of a process that a signal ended, as shells count it. */
const SIGNALLED: Record<string, number> = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };

export async function run(options: RunOptions): Promise<number> {
  const devices = await planVirtio(options, (message) => void process.stderr.write(`vmm: ${message}\n`));
  try {
    return await new Session(planRun(options, hostLimit(), devices.specs), options).run();
  } finally {
    devices.close();
  }
}

function hostLimit(): number {
  using kvm = Kvm.open();
  return maxVcpus(kvm);
}

/** One run of one machine and everything that is connected to it. */
class Session {
  readonly #plan: RunPlan;
  readonly #options: RunOptions;
  readonly #serial: GuestLine;
  readonly #console: GuestLine | undefined;
  readonly #debug: OpenSink;
  readonly #machine: Machine;
  readonly #controlled: ControlledMachine;
  readonly #ports: ReturnType<typeof openPorts>;
  #terminal: RawTerminal | undefined;
  #monitor: Monitor | undefined;
  #exitCode: number | undefined;

  constructor(plan: RunPlan, options: RunOptions) {
    this.#plan = plan;
    this.#options = options;
    const events = options.json === true;
    // With --json, standard output carries events alone; the guest's bytes are one kind of them.
    const seen = (sink: Sink): Sink => (events && sink.kind === "stdio" ? { kind: "null" } : sink);
    this.#serial = new GuestLine("--serial", "serial port", seen(plan.serial), {
      receive: (bytes) => this.#machine.receive(bytes),
      release: () => this.#machine.releaseOutputs(),
    });
    if (plan.console !== undefined) {
      this.#console = new GuestLine("--console", "console", seen(plan.console), {
        receive: (bytes) => this.#machine.console!.receive(bytes),
        release: () => this.#machine.console!.release(),
      });
    }
    this.#debug = openSink("--debug-console", plan.debugConsole, "debug console");
    this.#debug.output?.on("drain", () => this.#machine.releaseOutputs());
    if (events) {
      process.stdout.on("drain", () => {
        this.#machine.releaseOutputs();
        this.#machine.console?.release();
      });
    }
    this.#machine = new Machine({
      spec: plan.spec,
      resetOnRequest: options.reboot,
      onOutput: (output, bytes) => {
        if (output === "debug") return this.#debug.output?.write(bytes) ?? true;
        return this.#show(output === "console" ? this.#console! : this.#serial, bytes);
      },
      onLog: (message) => void process.stderr.write(`vmm: ${plan.spec.name}: ${message}\n`),
      onInputTaken: () => this.#serial.taken(),
    });
    const line = this.#console;
    if (line !== undefined) {
      this.#machine.console!.connect({
        onOutput: (bytes) => this.#show(line, bytes),
        onInputTaken: () => line.taken(),
      });
    }
    this.#ports = openPorts(plan.ports, this.#machine);
    this.#controlled = {
      machine: this.#machine,
      kernel: plan.kernel,
      viewers: () => this.#main.hub.viewers,
    };
  }

  /** What the machine is attached to by: its console, or without one its serial port. */
  get #main(): GuestLine {
    return this.#console ?? this.#serial;
  }

  /** Bytes of the guest's. False when there is no room for more of them until somebody says so. */
  #show(line: GuestLine, bytes: Uint8Array): boolean {
    const isEvent = this.#options.json === true && line === this.#main;
    const hasRoom = !isEvent || this.#event({ event: "output", text: Buffer.from(bytes).toString("latin1") });
    return line.hub.write(bytes) && hasRoom;
  }

  async run(): Promise<number> {
    const { name } = this.#plan.spec;
    const machine = this.#machine;
    const signals = this.#catchSignals();
    const server = await this.#register();
    const forget = (): void => unregister(name);
    process.once("exit", forget);
    let end: MachineEnd;
    try {
      const lines = [this.#serial, ...(this.#console === undefined ? [] : [this.#console]), this.#ports];
      const announcements: (string | undefined)[] = [];
      for (const each of lines) announcements.push(await each.begin());
      await this.#debug.begin?.();
      this.#announce(announcements.filter((each) => each !== undefined));
      machine.start(this.#plan.source);
      this.#openConsole();
      end = await machine.ended;
    } catch (error) {
      await machine.stop();
      // A kernel that was understood and yet cannot be loaded does not fit.
      if (error instanceof BootError) throw new CliError(`--memory ${this.#options.memory}: ${error.message}`);
      throw error;
    } finally {
      signals();
      this.#monitor?.abandon();
      this.#terminal?.restore();
      this.#serial.hub.close();
      this.#console?.hub.close();
      server.close();
      process.off("exit", forget);
    }
    this.#report(end);
    await Promise.all([this.#serial.close(), this.#console?.close(), this.#ports.close(), this.#debug.close()]);
    return this.#exitCode ?? end.status & 0xff;
  }

  async #register(): Promise<ControlServer> {
    try {
      return await serve(this.#controlled, this.#main.hub);
    } catch (error) {
      await this.#machine.stop();
      if (error instanceof NameTakenError) throw new CliError(`--name ${this.#plan.spec.name}: ${error.message}`);
      throw error;
    }
  }

  #announce(announcements: readonly string[]): void {
    const { spec, kernel } = this.#plan;
    if (this.#options.json) {
      this.#event({
        event: "started",
        name: spec.name,
        pid: process.pid,
        kernel,
        cpus: spec.cpus,
        memoryBytes: spec.memoryBytes,
      });
    }
    for (const each of announcements) process.stderr.write(`vmm: ${each}\n`);
  }

  /** Connects the keyboard (or a pty's other end) to the guest. */
  #openConsole(): void {
    const machine = this.#machine;
    if (machine.phase === "ended") return;
    this.#serial.openInput();
    this.#console?.openInput();
    const line = this.#plan.console?.kind === "stdio" ? this.#console! : this.#serial;
    if (line === this.#serial && this.#plan.serial.kind !== "stdio") return;
    if (line === this.#console) this.#followSize();
    const { stdin } = process;
    if (stdin.isTTY !== true) {
      this.#terminal = openTerminal((bytes) => line.receive(bytes, stdin));
      return;
    }
    const monitor = new Monitor({
      write: (text) => void process.stderr.write(text),
      run: (line) => runMonitorCommand(this.#controlled, line),
      onClose: () => {},
    });
    this.#monitor = monitor;
    const reader = new EscapeReader({
      onBytes: (bytes) => line.type(monitor.push(bytes)),
      onCommand: (command) => {
        if (command === "quit") void machine.stop();
        else if (command === "help") process.stderr.write(`\r\nvmm: ${ESCAPE_HELP}\r\n`);
        else if (monitor.isOpen) monitor.close();
        else monitor.open();
      },
    });
    this.#terminal = openTerminal((bytes) => reader.push(bytes));
  }

  /** The guest's terminal is as large as ours. */
  #followSize(): void {
    const { stdout } = process;
    if (!stdout.isTTY) return;
    const resize = (): void => this.#machine.console!.resize({ columns: stdout.columns, rows: stdout.rows });
    stdout.on("resize", resize);
    resize();
    void this.#machine.ended.then(() => stdout.off("resize", resize));
  }

  #catchSignals(): () => void {
    const onSignal = (signal: NodeJS.Signals): void => {
      this.#exitCode = SIGNALLED[signal];
      void this.#machine.stop();
    };
    const names = Object.keys(SIGNALLED) as NodeJS.Signals[];
    for (const name of names) process.on(name, onSignal);
    // A reader that went away (`vmm run | head`) ends the machine as a hangup does.
    const onBrokenPipe = (): void => onSignal("SIGHUP");
    const streams = [process.stdout, process.stderr];
    // Each Worker listens there as well; a machine may have hundreds, which is no leak.
    for (const stream of streams) stream.setMaxListeners(0).on("error", onBrokenPipe);
    return () => {
      for (const name of names) process.off(name, onSignal);
      for (const stream of streams) stream.off("error", onBrokenPipe);
    };
  }

  /** False when standard output wants no more for now. */
  #event(event: Record<string, unknown>): boolean {
    return process.stdout.write(`${JSON.stringify(event)}\n`);
  }

  #report(end: MachineEnd): void {
    const { name } = this.#plan.spec;
    const rows = (): ExitRow[] => exitRows(this.#machine.ledger.snapshot());
    if (this.#options.json) {
      const { why, status } = end;
      const detail =
        end.why === "crashed" ? { crash: end.report } : end.why === "failed" ? { message: end.message } : {};
      this.#event({ event: "ended", name, why, status, ...detail, exits: rows() });
    }
    if (end.why === "crashed") process.stderr.write(`${crashScreen(name, end.report)}\n`);
    if (end.why === "panicked")
      process.stderr.write(`vmm: ${name}: the guest's kernel panicked; its console says why\n`);
    if (end.why === "failed") process.stderr.write(`vmm: ${name}: ${end.message}\n`);
    if (this.#options.exits) process.stderr.write(`\n${exitTable(rows())}\n`);
    if (end.why === "stopped" && process.stdin.isTTY && EXIT.OK === (this.#exitCode ?? 0)) {
      process.stderr.write(`\nvmm: ${name} stopped\n`);
    }
  }
}
