/** `--disk FILE[,format=raw|qcow2][,ro][,cache=writeback|direct][,serial=TEXT][,queues=N][,bps=SIZE][,iops=N][,burst=SECONDS]`. */
import { resolve } from "node:path";
import type { CacheMode } from "../block/host-file.js";
import type { DiskFormat } from "../block/open-disk.js";
import type { DiskSpec } from "../machine/spec.js";
import { openSpecifiedDisk } from "../machine/virtio-backend.js";
import { SECTOR_BYTES } from "../virtio/devices/block/block.js";
import { CliError } from "./errors.js";
import { rateLimit } from "./rate-option.js";

const FORMATS: readonly DiskFormat[] = ["raw", "qcow2"];
const CACHES: readonly CacheMode[] = ["writeback", "direct"];
const KEYS = ["format", "ro", "cache", "serial", "queues", "bps", "iops", "burst"] as const;
type Key = (typeof KEYS)[number];
const MOST_SERIAL_BYTES = 20;
const MOST_QUEUES = 16;

/** Each image is opened once, to know that it can be had and how large the disk is. Throws CliError. */
export function diskSpecs(texts: readonly string[]): DiskSpec[] {
  const specs = texts.map(diskSpec);
  specs.forEach(({ path, readonly }, index) => {
    const other = specs.findIndex((each) => each.path === path);
    if (other < index && !(readonly && specs[other]!.readonly)) {
      throw new CliError(
        `--disk ${texts[index]}: the same image twice; two disks can only share one that both have with ro`,
      );
    }
  });
  return specs;
}

function diskSpec(text: string): DiskSpec {
  const [file = "", ...words] = text.split(",");
  const refuse = (why: string): never => {
    throw new CliError(`--disk ${text}: ${why}`);
  };
  if (file === "") refuse("names no file");
  const given = new Map<Key, string>();
  for (const word of words) {
    const [key, value = ""] = word.split(/=(.*)/s);
    const known = KEYS.find((each) => each === key);
    if (known === undefined) return refuse(`${word}: there are ${KEYS.join(", ")}`);
    given.set(known, value);
  }
  const choice = <T extends string>(key: Key, choices: readonly T[]): T | undefined => {
    const value = given.get(key);
    if (value === undefined) return undefined;
    return choices.find((each) => each === value) ?? refuse(`${key}=${value}: one of ${choices.join(", ")}`);
  };
  const serial = given.get("serial") ?? "";
  if (Buffer.byteLength(serial) > MOST_SERIAL_BYTES) refuse(`serial=${serial}: at most ${MOST_SERIAL_BYTES} bytes`);
  const queues = Number(given.get("queues") ?? "1");
  if (!Number.isInteger(queues) || queues < 1 || queues > MOST_QUEUES)
    refuse(`queues: a whole number from 1 to ${MOST_QUEUES}`);
  const spec = {
    kind: "block",
    path: resolve(file),
    format: choice("format", FORMATS),
    readonly: given.has("ro"),
    cache: choice("cache", CACHES) ?? "writeback",
    serial,
    queues,
    limit: rateLimit(given, "iops", refuse),
  } as const;
  try {
    const disk = openSpecifiedDisk(spec);
    const { sizeBytes } = disk;
    disk.close();
    if (sizeBytes < SECTOR_BYTES) refuse("a disk has at least one sector of 512 bytes");
    return { ...spec, sizeBytes };
  } catch (error) {
    if (error instanceof CliError) throw error;
    return refuse((error as Error).message);
  }
}
