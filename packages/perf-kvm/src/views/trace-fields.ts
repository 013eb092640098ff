/** How the fields of a tracepoint are printed: by what its format says of their types (trace/events.rst). */
import { hardwareExitName, ISA, userspaceExitName } from "../exits/names.js";
import { type Piece, piece, type TextBuffer } from "./text-buffer.js";

const SPACE = 32;
const MINUS = 45;

type Kind = "unsigned" | "signed" | "hex" | "chars" | "text" | "bytes" | "exit reason" | "userspace reason";

interface Field {
  /** ` name=`, of a number in hexadecimal ` name=0x`. */
  readonly label: Piece;
  readonly kind: Kind;
  readonly offset: number;
  readonly sizeBytes: number;
}

const FIELD = /^\tfield:([^;]*?)\b(\w+)(\[[^\]]*\])?;\toffset:(\d+);\tsize:(\d+);(?:\tsigned:([01]);)?/;
const LONGEST_LINE = 512;
/** Numbers that are read in hexadecimal: addresses, ports, registers. */
const HEXADECIMAL = /^(?:port|val|ecx|gpa|gva|cr|.*addr.*|.*rip|error_code|intr_info|event_inj|exit_int_info\w*)$/;
const LONGEST_TEXT = 4096;
const LONGEST_BYTES = 64;
const MOST_REASONS = 4096;

export class TraceFields {
  readonly #fields: readonly Field[];
  readonly #isaOffset: number;
  readonly #reasons = new Map<number, Piece>();

  /** `text` is the format's; `name` the event's (kvm_exit). Fields that all events have are left out. */
  constructor(name: string, text: string) {
    this.#fields = text.split("\n").flatMap((line) => fieldOf(name, line) ?? []);
    const isa = /\tfield:u(?:32|nsigned int) isa;\toffset:(\d{1,4});/.exec(text)?.[1];
    this.#isaOffset = isa === undefined ? -1 : Number(isa);
  }

  /** Appends ` name=value` for each field of the raw data that lie from `raw` to `end`. */
  print(out: TextBuffer, view: DataView, raw: number, end: number): void {
    const fields = this.#fields;
    for (let i = 0; i < fields.length; i++) {
      const { label, kind, offset, sizeBytes } = fields[i]!;
      const at = raw + offset;
      // A format may name the same bytes any number of times.
      if (at + sizeBytes > end || !out.hasRoom) return;
      out.piece(label);
      switch (kind) {
        case "unsigned":
          out.decimal(unsigned(view, at, sizeBytes));
          break;
        case "signed":
          signed(out, view, at, sizeBytes);
          break;
        case "hex":
          if (sizeBytes === 8) out.hex(view.getUint32(at, true), view.getUint32(at + 4, true));
          else out.hex(unsigned(view, at, sizeBytes), 0);
          break;
        case "exit reason":
          out.piece(this.#exitReason(view, raw, end, view.getUint32(at, true)));
          break;
        case "userspace reason":
          out.piece(this.#userspaceReason(view.getUint32(at, true)));
          break;
        case "chars":
          printable(out, view, at, sizeBytes);
          break;
        default:
          dynamic(out, view, raw, end, view.getUint32(at, true), kind);
      }
    }
  }

  #exitReason(view: DataView, raw: number, end: number, reason: number): Piece {
    const hasIsa = this.#isaOffset >= 0 && raw + this.#isaOffset + 4 <= end;
    const isa = hasIsa ? view.getUint32(raw + this.#isaOffset, true) : ISA.VMX;
    const key = reason * 4 + (isa & 3);
    return this.#reasons.get(key) ?? this.#name(key, hardwareExitName(isa, reason));
  }

  #userspaceReason(reason: number): Piece {
    return this.#reasons.get(reason) ?? this.#name(reason, userspaceExitName(reason));
  }

  #name(key: number, name: string): Piece {
    const bytes = piece(name);
    // A file may claim any reason.
    if (this.#reasons.size < MOST_REASONS) this.#reasons.set(key, bytes);
    return bytes;
  }
}

function fieldOf(event: string, line: string): Field | undefined {
  const match = line.length > LONGEST_LINE ? null : FIELD.exec(line);
  if (match === null) return undefined;
  const [, type, name, array, offset, size, sign] = match as unknown as [
    string,
    string,
    string,
    string | undefined,
    string,
    string,
    string,
  ];
  const sizeBytes = Number(size);
  if (name.startsWith("common_") || sizeBytes === 0) return undefined;
  const kind = kindOf(event, type, name, array !== undefined, sizeBytes, sign === "1");
  return { label: piece(` ${name}=${kind === "hex" ? "0x" : ""}`), kind, offset: Number(offset), sizeBytes };
}

function kindOf(
  event: string,
  type: string,
  name: string,
  isArray: boolean,
  sizeBytes: number,
  isSigned: boolean,
): Kind {
  if (event === "kvm_exit" && name === "exit_reason" && sizeBytes === 4) return "exit reason";
  if (event === "kvm_userspace_exit" && name === "reason" && sizeBytes === 4) return "userspace reason";
  if (type.includes("__data_loc") && sizeBytes === 4) return type.includes("char") ? "text" : "bytes";
  if (isArray || ![1, 2, 4, 8].includes(sizeBytes)) return "chars";
  if (isSigned) return "signed";
  return sizeBytes === 8 || HEXADECIMAL.test(name) ? "hex" : "unsigned";
}

function unsigned(view: DataView, at: number, sizeBytes: number): number {
  if (sizeBytes === 4) return view.getUint32(at, true);
  if (sizeBytes === 1) return view.getUint8(at);
  return sizeBytes === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
}

function signed(out: TextBuffer, view: DataView, at: number, sizeBytes: number): void {
  if (sizeBytes === 8) {
    const value = view.getBigInt64(at, true);
    out.piece(piece(value.toString()));
    return;
  }
  const value =
    sizeBytes === 4 ? view.getInt32(at, true) : sizeBytes === 2 ? view.getInt16(at, true) : view.getInt8(at);
  if (value < 0) out.byte(MINUS);
  out.decimal(Math.abs(value));
}

/** Text that anybody may choose: without what would steer a terminal or break the line. */
function printable(out: TextBuffer, view: DataView, at: number, sizeBytes: number): void {
  for (let i = at; i < at + Math.min(sizeBytes, LONGEST_TEXT); i++) {
    const byte = view.getUint8(i);
    if (byte === 0) return;
    out.byte(byte > SPACE && byte < 0x7f ? byte : byte === SPACE ? SPACE : 63);
  }
}

/** A `__data_loc`: where the data lie in the record (low 16 bits), and how long they are. */
function dynamic(out: TextBuffer, view: DataView, raw: number, end: number, location: number, kind: Kind): void {
  const at = raw + (location & 0xffff);
  const sizeBytes = location >>> 16;
  if (at + sizeBytes > end) return;
  if (kind === "text") {
    printable(out, view, at, sizeBytes);
    return;
  }
  for (let i = at; i < at + Math.min(sizeBytes, LONGEST_BYTES); i++) {
    const byte = view.getUint8(i);
    out.hex(byte >>> 4, 0);
    out.hex(byte & 15, 0);
  }
}
