/** A module's file as a kernel takes it. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename, extname } from "node:path";
import { gunzipSync } from "node:zlib";

/** Node 20 knows neither of these compressions. */
const PROGRAMS: Readonly<Record<string, string>> = { ".xz": "xz", ".zst": "zstd" };
/** The largest modules of a distribution are some megabytes. */
const MOST_BYTES = 2 ** 28;

export interface ModuleFile {
  readonly name: string;
  readonly content: Uint8Array;
}

/** Unpacked, if this host can do it; else as it is, for a kernel that can (CONFIG_MODULE_DECOMPRESS). */
export function moduleFile(path: string): ModuleFile {
  const packed = { name: basename(path), content: readFileSync(path) };
  const content = unpack(extname(path), packed.content);
  return content === undefined ? packed : { name: basename(path, extname(path)), content };
}

function gunzip(bytes: Uint8Array): Uint8Array | undefined {
  try {
    return gunzipSync(bytes, { maxOutputLength: MOST_BYTES });
  } catch {
    return undefined;
  }
}

function unpack(extension: string, bytes: Uint8Array): Uint8Array | undefined {
  if (extension === ".gz") return gunzip(bytes);
  const program = PROGRAMS[extension];
  if (program === undefined) return undefined;
  const { status, stdout } = spawnSync(program, ["-dc"], {
    input: bytes,
    maxBuffer: MOST_BYTES,
    stdio: ["pipe", "pipe", "ignore"],
  });
  return status === 0 ? stdout : undefined;
}
