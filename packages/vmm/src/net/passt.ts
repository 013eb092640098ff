/**
 * passt: a network for the guest that needs no rights and no setting up. It turns the guest's frames into sockets of the
 * host's, and hands out an address by DHCP. A process of its own, which ends when its guest's machine does.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { chownSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export interface Forward {
  readonly protocol: "tcp" | "udp";
  /** Ports: what is connected to on the host's loopback arrives at the guest's. */
  readonly host: number;
  readonly guest: number;
}

export interface PasstOptions {
  readonly forwards: readonly Forward[];
  /** It has ended before close(): in a few words, why. */
  readonly onEnd: (why: string) => void;
}

/** There is no passt, or it does not start: one line. */
export class PasstError extends Error {
  override readonly name = "PasstError";
}

/** The user and group of Linux that own nothing. */
const NOBODY = 65_534;
const START_MS = 5_000;
const POLL_MS = 5;
const KEPT_CHARACTERS = 4096;

export class Passt {
  readonly socketPath: string;
  readonly #child: ChildProcess;
  readonly #folder: string;
  #said = "";
  #ended: string | undefined;
  #isClosed = false;

  /** Resolves when its socket can be connected to. Throws PasstError. */
  static async start(options: PasstOptions): Promise<Passt> {
    const passt = new Passt(options);
    const deadline = Date.now() + START_MS;
    while (!existsSync(passt.socketPath)) {
      if (passt.#ended !== undefined || Date.now() > deadline) {
        const why = passt.#ended ?? "it does not open its socket";
        passt.close();
        throw new PasstError(why);
      }
      await sleep(POLL_MS);
    }
    return passt;
  }

  private constructor({ forwards, onEnd }: PasstOptions) {
    this.#folder = mkdtempSync(join(tmpdir(), "vmm-net-"));
    // passt gives root's rights up before it makes its socket; nobody else may see it.
    if (process.getuid?.() === 0) chownSync(this.#folder, NOBODY, NOBODY);
    this.socketPath = join(this.#folder, "passt.sock");
    this.#child = spawn("passt", passtArguments(this.socketPath, forwards), { stdio: ["ignore", "ignore", "pipe"] });
    this.#child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.#said = (this.#said + text).slice(-KEPT_CHARACTERS);
    });
    const end = (why: string): void => {
      this.#ended ??= why;
      if (!this.#isClosed) onEnd(why);
    };
    this.#child.once("error", (error: NodeJS.ErrnoException) => {
      end(error.code === "ENOENT" ? "passt is not installed; apt-get install passt" : error.message);
    });
    this.#child.once("close", (status, signal) =>
      end(signal === null ? (lastWords(this.#said) ?? `exit code ${status}`) : `by ${signal}`),
    );
  }

  close(): void {
    this.#isClosed = true;
    this.#child.kill("SIGTERM");
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function passtArguments(socketPath: string, forwards: readonly Forward[]): string[] {
  const ports = (protocol: Forward["protocol"]): string[] =>
    forwards.filter((each) => each.protocol === protocol).map(({ host, guest }) => `127.0.0.1/${host}:${guest}`);
  return [
    // In the foreground, silent, and gone when the machine closes its end.
    ...["--foreground", "--quiet", "--stderr", "--one-off", "--socket", socketPath],
    ...ports("tcp").flatMap((port) => ["--tcp-ports", port]),
    ...ports("udp").flatMap((port) => ["--udp-ports", port]),
  ];
}

/** Its last line that is not about its log. */
function lastWords(text: string): string | undefined {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !/syslog/.test(line))
    .at(-1);
}
