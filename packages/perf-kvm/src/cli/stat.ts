/** `perf-kvm stat`: one table of the exits of a stretch of time, or of the time that a command takes. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import { constants } from "node:os";
import type { Report } from "../model/report.js";
import { jsonReport } from "../views/json.js";
import { csvHeader, csvRows, statTable } from "../views/stat-table.js";
import { CliError, EXIT } from "./errors.js";
import { seconds } from "./seconds.js";
import { watch } from "./watch.js";
import { filtered, openObserver, type WatchOptions, wholeNumber } from "./watch-options.js";

export interface StatOptions extends WatchOptions {
  readonly duration?: string;
  readonly csv?: boolean;
  readonly json?: boolean;
  readonly intervalPrint?: string;
  readonly output?: string;
}

const LEAST_INTERVAL_MS = 10;
const MOST_INTERVAL_MS = 86_400_000;
/** What a shell answers for a program that is not there, or may not be run. */
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;
const SIGNALLED = 128;

/** Returns the exit status: the command's own, when there is one. */
export async function stat(command: readonly string[], options: StatOptions): Promise<number> {
  if (options.csv && options.json) throw new CliError("--csv and --json: give one of them");
  const durationMs = options.duration === undefined ? undefined : seconds("--duration", options.duration) * 1000;
  const intervalMs =
    options.intervalPrint === undefined
      ? undefined
      : wholeNumber("--interval-print", options.intervalPrint, LEAST_INTERVAL_MS, MOST_INTERVAL_MS, "milliseconds");
  const observer = openObserver(options, command.length > 0);
  try {
    // With a command, standard output is the command's.
    const output = openOutput(options.output, command.length > 0 ? process.stderr : process.stdout);
    const printer = printerOf(options, output);
    let elapsed = 0;
    const show = (report: Report): void => {
      elapsed += report.seconds;
      if (intervalMs !== undefined) printer.interval(filtered(report, options.filter), elapsed);
    };
    const hasCommand = command.length > 0;
    let run: Run | undefined;
    const begin = (): Promise<void> => {
      run = runCommand(command);
      return run.ended;
    };
    await watch(
      observer,
      {
        intervalMs,
        durationMs,
        command: hasCommand ? () => run?.child.pid : undefined,
        until: hasCommand ? begin : undefined,
        onSignal: (signal) => run !== undefined && passOn(run.child, signal),
      },
      show,
    );
    printer.total(filtered(observer.total(), options.filter));
    output.close();
    return (await run?.status()) ?? EXIT.OK;
  } finally {
    observer.close();
  }
}

interface Output {
  write(text: string): void;
  close(): void;
}

function openOutput(path: string | undefined, stream: NodeJS.WriteStream): Output {
  if (path === undefined) return { write: (text) => void stream.write(text), close: () => {} };
  try {
    const fd = openSync(path, "w");
    return { write: (text) => void writeSync(fd, text), close: () => closeSync(fd) };
  } catch (error) {
    throw new CliError(`--output ${path}: ${(error as Error).message}`, EXIT.FAILURE);
  }
}

interface Printer {
  interval(report: Report, elapsedSeconds: number): void;
  total(report: Report): void;
}

function printerOf({ csv, json, intervalPrint }: StatOptions, { write }: Output): Printer {
  if (json) {
    return {
      interval: (report) => write(jsonReport(report, "interval")),
      total: (report) => write(jsonReport(report, "total")),
    };
  }
  if (!csv) {
    return {
      interval: (report, elapsed) => write(`at ${elapsed.toFixed(3)} s\n${statTable(report)}\n`),
      total: (report) => write(statTable(report)),
    };
  }
  // The intervals add up to the total: with them, it would be counted twice.
  write(csvHeader);
  return {
    interval: (report, elapsed) => write(csvRows(report, elapsed)),
    total: (report) => void (intervalPrint === undefined && write(csvRows(report, report.seconds))),
  };
}

interface Run {
  readonly child: ChildProcess;
  /** Resolves when the command has ended, or could not be started. */
  readonly ended: Promise<void>;
  status(): Promise<number>;
}

function runCommand([program, ...args]: readonly string[]): Run {
  const child = spawn(program!, args, { stdio: "inherit" });
  const status = new Promise<number>((resolve) => {
    child.once("error", (error: NodeJS.ErrnoException) => {
      process.stderr.write(`perf-kvm: ${program}: ${error.code === "ENOENT" ? "no such program" : error.message}\n`);
      resolve(error.code === "ENOENT" ? NOT_FOUND : NOT_EXECUTABLE);
    });
    child.once("close", (code, signal) => {
      resolve(code ?? SIGNALLED + (signal === null ? 0 : constants.signals[signal]));
    });
  });
  return {
    child,
    ended: status.then(() => {}),
    async status() {
      // Cut short by --duration: the command does not outlive its measurement.
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      return status;
    },
  };
}

/** Ctrl-C reaches the command by itself; the other signals it gets from here. The watch goes on until it has ended. */
function passOn(child: ChildProcess, signal: NodeJS.Signals): boolean {
  const isFromTerminal = signal === "SIGINT" && process.stdin.isTTY;
  if (!isFromTerminal) child.kill(signal);
  return true;
}
