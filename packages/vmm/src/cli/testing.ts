/** What the tests of the command share: small guests, and what `--json` says. */
import { readFileSync } from "node:fs";
import { embeddedGuestPath } from "@tools-kvm/firmware";
import { buildElf, multibootHeader } from "../boot/testing.js";
import type { ExitRow } from "../control/actions.js";

/** `run=` for the embedded guest, without its banner. */
export const commands = (...list: string[]): string => `quiet run=${list.join("; ")}`;

/** The events of `vmm run --json`. Throws when a line is not JSON. */
export function events(stdout: string): Record<string, unknown>[] {
  expectEndsWithNewline(stdout);
  return stdout
    .slice(0, -1)
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

function expectEndsWithNewline(text: string): void {
  if (!text.endsWith("\n")) throw new Error(`the last line has no end: ${text.slice(-200)}`);
}

/** How many exits of a kind the ledger has, by the last event. */
export function exitCount(stdout: string, wanted: Partial<ExitRow>): number {
  const rows = events(stdout).at(-1)?.exits as ExitRow[];
  const matching = rows.filter((row) =>
    Object.entries(wanted).every(([key, value]) => row[key as keyof ExitRow] === value),
  );
  return matching.reduce((sum, { count }) => sum + count, 0);
}

/** The embedded guest, booted by one protocol alone. */
export function guestBy(protocol: "multiboot" | "PVH"): Uint8Array {
  const bytes = readFileSync(embeddedGuestPath());
  if (protocol === "PVH") {
    bytes.writeUInt32LE(0, bytes.indexOf(Buffer.from([0x02, 0xb0, 0xad, 0x1b])));
  } else {
    // The note's header: 4 bytes of name, 4 of address, type 18.
    const note = bytes.indexOf(Buffer.from([4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0]));
    bytes.writeUInt32LE(0, note + 8);
  }
  return bytes;
}

const LOAD_ADDRESS = 2 ** 20;

/** A multiboot kernel of a few bytes of 32-bit code. */
export function codeGuest(code: readonly number[]): Uint8Array {
  const bytes = Uint8Array.from([...multibootHeader(0), ...code]);
  return buildElf({ entry: LOAD_ADDRESS + 12, segments: [{ gpa: LOAD_ADDRESS, bytes }] });
}

/** mov dx, 0x604; mov ax, 0x2000; out dx, ax: power off. */
export const POWER_OFF = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef, 0xf4];

/** Sends `blocks` times 16 bytes to the serial port, waiting for its transmitter before each, and powers off. */
export function floodGuest(blocks: number): Uint8Array {
  const u32 = [0, 8, 16, 24].map((shift) => (blocks >>> shift) & 0xff);
  return codeGuest([
    ...[0xbb, ...u32], // mov ebx, blocks
    ...[0x66, 0xba, 0xfa, 0x03, 0xb0, 0x01, 0xee], // mov dx, 0x3fa; mov al, 1; out dx, al: FIFOs on
    ...[0x66, 0xba, 0xfd, 0x03], // 1: mov dx, 0x3fd
    ...[0xec, 0xa8, 0x20, 0x74, 0xfb], // 2: in al, dx; test al, 0x20; jz 2b
    ...[0x66, 0xba, 0xf8, 0x03], // mov dx, 0x3f8
    ...[0xbe, 0x46, 0x00, 0x10, 0x00], // mov esi, text
    ...[0xb9, 0x10, 0x00, 0x00, 0x00], // mov ecx, 16
    ...[0xf3, 0x6e], // rep outsb
    ...[0x4b, 0x75, 0xe4], // dec ebx; jnz 1b
    ...POWER_OFF,
    ...new Array(70 - 12 - 51).fill(0x90),
    ...Buffer.from(FLOOD_TEXT),
  ]);
}

/** What the flood consists of. */
export const FLOOD_TEXT = "0123456789abcde\n";

/** Listens to the power button (PM1_EN at port 0x602), waits until it is pressed (PM1_STS at 0x600), then does `andThen`. */
export function powerButtonGuest(andThen: readonly number[]): Uint8Array {
  return codeGuest([
    ...[0x66, 0xba, 0x02, 0x06, 0x66, 0xb8, 0x00, 0x01, 0x66, 0xef], // mov dx, 0x602; mov ax, 0x100; out dx, ax
    ...[0x66, 0xba, 0x00, 0x06], // mov dx, 0x600
    ...[0x66, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xf9], // 1: in ax, dx; test ah, 1; jz 1b
    ...andThen,
  ]);
}
