/** What the first process of a sandbox is told, as the file /job: strings that each end with a NUL (sandbox-init/job.h). */

export interface SandboxShare {
  readonly tag: string;
  /** Where it is mounted; the first one is the root, wherever it says. */
  readonly path: string;
  readonly readonly: boolean;
}

export interface SandboxNetwork {
  /** IPv4, as in `192.0.2.2`. */
  readonly address: string;
  readonly netmask: string;
  readonly gateway: string;
  /** What /etc/resolv.conf says. */
  readonly resolver: string;
}

export interface SandboxJob {
  /** Paths in the initramfs, in the order of insertion. */
  readonly modules: readonly string[];
  readonly shares: readonly SandboxShare[];
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly folder: string;
  readonly user: number;
  readonly group: number;
  readonly groups: readonly number[];
  /** The size of the terminal that the command gets; without it the command gets pipes. */
  readonly terminal?: { readonly columns: number; readonly rows: number };
  readonly network?: SandboxNetwork;
}

/** What init has room for. */
const MOST_BYTES = 4 * 2 ** 20 - 1;
const MOST_GROUPS = 64;

/** Throws RangeError when it is too long, or a string has a NUL in it. */
export function encodeJob(job: SandboxJob): Buffer {
  const { terminal, network } = job;
  const words = [
    ...job.modules.flatMap((path) => ["module", path]),
    ...job.shares.flatMap(({ tag, path, readonly }) => ["share", tag, path, readonly ? "ro" : "rw"]),
    ...job.command.flatMap((word) => ["argument", word]),
    ...Object.entries(job.environment).flatMap(([name, value]) => ["environment", `${name}=${value}`]),
    ...["folder", job.folder, "user", String(job.user), "group", String(job.group)],
    ...job.groups.slice(0, MOST_GROUPS).flatMap((group) => ["group-of", String(group)]),
    ...(terminal ? ["terminal", String(terminal.columns), String(terminal.rows)] : []),
    ...(network ? networkWords(network) : []),
  ];
  if (words.some((word) => word.includes("\0"))) throw new RangeError("a word with a NUL in it");
  const bytes = Buffer.from(words.map((word) => `${word}\0`).join(""));
  if (bytes.length > MOST_BYTES) throw new RangeError(`command and environment are ${bytes.length} bytes long`);
  return bytes;
}

function networkWords({ address, netmask, gateway, resolver }: SandboxNetwork): string[] {
  const numbers = [address, netmask, gateway].map((text) => String(networkOrder(text)));
  return ["address", ...numbers, "resolver", resolver];
}

/** An IPv4 address as the number that an x86 processor reads where its bytes lie in order. */
function networkOrder(address: string): number {
  return Buffer.from(address.split(".").map(Number)).readUInt32LE(0);
}
