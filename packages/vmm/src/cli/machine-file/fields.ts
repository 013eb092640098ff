/**
 * What a machine file can say: one table, from which reading, writing and the schema come. The names are those of `vmm run`'s options
 * without their dashes.
 */
import { type FindPath, type ItemForm, portForm, shareForm, sinkPath, wholePath, wordsForm } from "./items.js";

export type Field =
  /** As on the command line. `path` says which texts name a file, which is meant relative to the machine file. */
  | {
      readonly kind: "text";
      readonly about: string;
      readonly choices?: readonly string[];
      readonly path?: FindPath;
    }
  /** A number, or a text with a unit. */
  | { readonly kind: "quantity"; readonly about: string }
  | { readonly kind: "flag"; readonly about: string }
  | { readonly kind: "paths"; readonly about: string }
  | { readonly kind: "items"; readonly about: string; readonly form: ItemForm };

const FIRMWARE_WORDS = ["rom", "seabios", "ovmf"];

const firmwarePath: FindPath = (text) => (FIRMWARE_WORDS.includes(text) ? undefined : wholePath(text));
const vsockPath: FindPath = (text) => {
  const [, before, path] = /^(cid=[^,]*,uds=)(.+)$/s.exec(text) ?? [];
  return path === undefined ? undefined : { before: before!, path };
};

export const FIELDS: Readonly<Record<string, Field>> = {
  name: { kind: "text", about: "name to find it by" },
  kernel: { kind: "text", about: "Linux bzImage or vmlinux, multiboot or PVH image", path: wholePath },
  initrd: { kind: "paths", about: "initial ramdisks or boot modules" },
  append: { kind: "text", about: "kernel command line" },
  cpus: { kind: "quantity", about: "vCPUs" },
  memory: { kind: "quantity", about: "guest RAM: 512M, 2G; a bare number is MiB" },
  disk: {
    kind: "items",
    about: "disk images",
    form: wordsForm("file", {
      file: { kind: "text", path: wholePath },
      format: { kind: "text", choices: ["raw", "qcow2"] },
      ro: { kind: "flag" },
      cache: { kind: "text", choices: ["writeback", "direct"] },
      serial: { kind: "text" },
      queues: { kind: "number" },
      bps: { kind: "text" },
      iops: { kind: "number" },
      burst: { kind: "text" },
    }),
  },
  net: {
    kind: "items",
    about: "network interfaces",
    form: wordsForm("type", {
      type: { kind: "text", choices: ["user", "tap", "none"] },
      name: { kind: "text" },
      forward: { kind: "texts" },
      mac: { kind: "text" },
      bps: { kind: "text" },
      pps: { kind: "number" },
      burst: { kind: "text" },
    }),
  },
  share: { kind: "items", about: "folders that the guest mounts by 9P", form: shareForm },
  rng: { kind: "flag", about: "a device with random bytes from the host" },
  balloon: {
    kind: "quantity",
    about: "memory that the guest gives back when asked; the size that it does from the start",
  },
  vsock: {
    kind: "text",
    about: "cid=N,uds=PATH: streams between programs of the guest and of the host",
    path: vsockPath,
  },
  firmware: { kind: "text", about: "start in firmware: rom, seabios, ovmf or a file", path: firmwarePath },
  "firmware-vars": { kind: "text", about: "where firmware keeps its variables", path: wholePath },
  "virtio-rings": { kind: "text", about: "queues of virtio devices", choices: ["split", "packed"] },
  bus: { kind: "text", about: "what virtio devices stand on", choices: ["mmio", "pci"] },
  serial: { kind: "text", about: "serial port: stdio, file:PATH, pty or null", path: sinkPath },
  console: {
    kind: "text",
    about: "terminal on virtio: stdio, pty, file:PATH, socket:PATH or null",
    path: sinkPath,
  },
  port: { kind: "items", about: "named streams between programs of the guest and the host", form: portForm },
  "debug-console": { kind: "text", about: "port 0x402: stderr, file:PATH or null", path: sinkPath },
  irqchip: { kind: "text", about: "interrupt controllers", choices: ["kernel", "split"] },
  reboot: { kind: "flag", about: "boot again when the guest resets" },
};

/** As commander and RunOptions have it: `firmware-vars` is `firmwareVars`. */
export function optionKey(name: string): string {
  return name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}
