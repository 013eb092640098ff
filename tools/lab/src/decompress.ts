/**
 * Undoes the compressions Debian and others give to kernels and modules. gzip is Node's own; for the rest the usual tools
 * are called, since Node 20 has none of them.
 */
import { spawnSync } from "node:child_process";
import { gunzipSync } from "node:zlib";
import { LabError } from "./errors.js";

interface Compression {
  magic: readonly number[];
  tool: string;
  debianPackage: string;
}

const GZIP_MAGIC = [0x1f, 0x8b];
const COMPRESSIONS: readonly Compression[] = [
  { magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], tool: "xz", debianPackage: "xz-utils" },
  { magic: [0x28, 0xb5, 0x2f, 0xfd], tool: "zstd", debianPackage: "zstd" },
  { magic: [0x02, 0x21, 0x4c, 0x18], tool: "lz4", debianPackage: "lz4" }, // the legacy frame, which kernel builds use
];

/** A kernel of a distribution unpacks to some 65 MB; this is where it stops being a kernel. */
const MAX_UNPACKED_BYTES = 1 << 30;

/** The bytes as they were before compression; those that carry no known magic come back as they are. */
export function decompress(bytes: Buffer, what: string): Buffer {
  if (isGzip(bytes)) return gunzip(bytes, what);
  const compression = COMPRESSIONS.find(({ magic }) => startsWith(bytes, magic));
  return compression === undefined ? bytes : runTool(compression, bytes, what);
}

export function isGzip(bytes: Buffer): boolean {
  return startsWith(bytes, GZIP_MAGIC);
}

function gunzip(bytes: Buffer, what: string): Buffer {
  try {
    return gunzipSync(bytes, { maxOutputLength: MAX_UNPACKED_BYTES });
  } catch {
    throw new LabError(`${what} does not unpack with gzip`);
  }
}

function runTool({ tool, debianPackage }: Compression, bytes: Buffer, what: string): Buffer {
  const result = spawnSync(tool, ["-dc"], {
    input: bytes,
    maxBuffer: MAX_UNPACKED_BYTES,
    stdio: ["pipe", "pipe", "ignore"],
  });
  if (result.error !== undefined && "code" in result.error && result.error.code === "ENOENT") {
    throw new LabError(`${what} is compressed and ${tool} is not installed`, `apt-get install ${debianPackage}`);
  }
  if (result.status !== 0) throw new LabError(`${what} does not unpack with ${tool}`);
  return result.stdout;
}

function startsWith(bytes: Buffer, magic: readonly number[]): boolean {
  return bytes.length >= magic.length && magic.every((byte, index) => bytes[index] === byte);
}
