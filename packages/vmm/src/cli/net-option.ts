/** `--net user[,forward=HOST:GUEST]...[,mac=..]`, `--net tap,name=NAME[,mac=..]`, both with rate limits, and `--net none`. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { NetSpec } from "../machine/spec.js";
import { type Forward, Passt, PasstError } from "../net/passt.js";
import { MAC_BYTES } from "../virtio/devices/net/net.js";
import type { RateLimitSpec } from "../virtio/rate-limit.js";
import { CliError } from "./errors.js";
import { rateLimit } from "./rate-option.js";

export interface NetPlan {
  readonly specs: readonly NetSpec[];
  close(): void;
}

interface Wanted {
  readonly text: string;
  readonly kind: "user" | "tap";
  readonly tap: string;
  readonly mac: readonly number[];
  readonly forwards: readonly Forward[];
  readonly limit: RateLimitSpec | undefined;
}

/** What passt tells the guest by DHCP, too: the most that an IP packet can have in a frame of 64 KiB. */
const USER_MTU = 65_520;
const DEFAULT_MTU = 1500;
const RATES = new Set(["bps", "pps", "burst"]);
const MOST_PORT = 65_535;
const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i;

export async function planNets(
  texts: readonly string[],
  machine: string,
  onLog: (message: string) => void,
): Promise<NetPlan> {
  const wanted = texts.filter((text) => text !== "none").map((text, index) => parse(text, machine, index));
  const running: Passt[] = [];
  const close = (): void => {
    for (const passt of running) passt.close();
  };
  try {
    const specs: NetSpec[] = [];
    for (const each of wanted) specs.push(await specOf(each, running, onLog));
    return { specs, close };
  } catch (error) {
    close();
    throw error;
  }
}

async function specOf(wanted: Wanted, running: Passt[], onLog: (message: string) => void): Promise<NetSpec> {
  const { kind, tap, mac, forwards, text, limit } = wanted;
  if (kind === "tap") return { kind: "net", mac, mtu: interfaceMtu(tap), limit, link: { type: "tap", name: tap } };
  try {
    const passt = await Passt.start({
      forwards,
      onEnd: (why) => onLog(`passt has ended (${why}): the guest has no network`),
    });
    running.push(passt);
    return { kind: "net", mac, mtu: USER_MTU, limit, link: { type: "socket", path: passt.socketPath } };
  } catch (error) {
    if (error instanceof PasstError) throw new CliError(`--net ${text}: ${error.message}`);
    throw error;
  }
}

function parse(text: string, machine: string, index: number): Wanted {
  const refuse = (why: string): never => {
    throw new CliError(`--net ${text}: ${why}`);
  };
  const [kind, ...words] = text.split(",");
  if (kind !== "user" && kind !== "tap") return refuse("one of user, tap, none, and options behind commas");
  let tap = "";
  let mac = defaultMac(machine, index);
  const forwards: Forward[] = [];
  const rates = new Map<string, string>();
  for (const word of words) {
    const [key, value = ""] = word.split(/=(.*)/s);
    if (key === "mac") {
      if (!MAC.test(value)) refuse(`mac=${value}: not an Ethernet address such as 52:54:00:12:34:56`);
      mac = value.split(":").map((byte) => Number.parseInt(byte, 16));
      if ((mac[0]! & 1) !== 0) refuse(`mac=${value}: a group's address, not an interface's`);
    } else if (RATES.has(key!)) rates.set(key!, value);
    else if (key === "name" && kind === "tap") tap = value;
    else if (key === "forward" && kind === "user")
      forwards.push(
        forward(value) ??
          refuse(`forward=${value}: HOST:GUEST, two ports from 1 to ${MOST_PORT}, and udp: before them for UDP`),
      );
    else refuse(`${word}: there are ${kind === "tap" ? "name" : "forward"}, mac, ${[...RATES].join(", ")}`);
  }
  if (kind === "tap" && tap === "") refuse("name=NAME is missing: the tap's name");
  return { text, kind, tap, mac, forwards, limit: rateLimit(rates, "pps", refuse) };
}

/** `8080:80` or `udp:5353:53`. */
function forward(text: string): Forward | undefined {
  const match = /^(?:(tcp|udp):)?(\d+):(\d+)$/.exec(text);
  if (match === null) return undefined;
  const [host, guest] = [Number(match[2]), Number(match[3])];
  const isPort = (port: number): boolean => port >= 1 && port <= MOST_PORT;
  if (!isPort(host) || !isPort(guest)) return undefined;
  return { protocol: match[1] === "udp" ? "udp" : "tcp", host, guest };
}

/** The same machine has the same address each time: locally administered, made of its name. */
function defaultMac(machine: string, index: number): number[] {
  const bytes = createHash("sha256")
    .update(`${machine || process.pid} ${index}`)
    .digest()
    .subarray(0, MAC_BYTES);
  return [(bytes[0]! & 0xfc) | 0x02, ...bytes.subarray(1)];
}

function interfaceMtu(name: string): number {
  try {
    return Number(readFileSync(`/sys/class/net/${name}/mtu`, "latin1"));
  } catch {
    return DEFAULT_MTU;
  }
}
