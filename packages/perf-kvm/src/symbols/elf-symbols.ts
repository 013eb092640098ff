/**
 * The functions of an ELF file by its symbol table (System V ABI, "Symbol Table"). The file may have a gigabyte of debug
 * information: only headers, symbols and their names are read, and every offset is checked against the file first.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { readAddress } from "./address.js";
import { printableName } from "./kallsyms.js";
import { type FunctionSymbol, MOST_SYMBOLS, SymbolError, SymbolTable } from "./table.js";

const MAGIC = 0x464c457f;
const SHT_SYMTAB = 2;
const STT = { NOTYPE: 0, FUNC: 2 } as const;
const SHF_EXECINSTR = 4;
/** Section numbers from here on have meanings of their own (SHN_ABS, SHN_COMMON). */
const SHN_LORESERVE = 0xff00;
const MOST_SECTIONS = 2 ** 20;
const MOST_NAME_BYTES = 2 ** 27;
const LONGEST_NAME = 512;

interface Layout {
  readonly headerBytes: number;
  readonly shoff: number;
  readonly shentsize: number;
  readonly shnum: number;
  readonly sectionBytes: number;
  readonly flags: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
  readonly symbolBytes: number;
  readonly value: number;
  readonly symbolSize: number;
  readonly info: number;
  readonly section: number;
}

const LAYOUTS: Readonly<Record<number, Layout>> = {
  1: {
    ...{ headerBytes: 52, shoff: 32, shentsize: 46, shnum: 48, sectionBytes: 40, flags: 8, offset: 16, size: 20 },
    ...{ link: 24, symbolBytes: 16, value: 4, symbolSize: 8, info: 12, section: 14 },
  },
  2: {
    ...{ headerBytes: 64, shoff: 40, shentsize: 58, shnum: 60, sectionBytes: 64, flags: 8, offset: 24, size: 32 },
    ...{ link: 40, symbolBytes: 24, value: 8, symbolSize: 16, info: 4, section: 6 },
  },
};

interface Section {
  readonly type: number;
  readonly isCode: boolean;
  readonly offset: number;
  readonly sizeBytes: number;
  readonly link: number;
}

/** Throws SymbolError, or the system's error when the file cannot be read. */
export function readElfSymbols(path: string): SymbolTable {
  const file = openSync(path, "r");
  try {
    return new SymbolTable(new ElfSymbols(file).read());
  } finally {
    closeSync(file);
  }
}

class ElfSymbols {
  readonly #file: number;
  readonly #fileBytes: number;
  readonly #is64: boolean;
  readonly #layout: Layout;
  readonly #header: DataView;

  constructor(file: number) {
    this.#file = file;
    this.#fileBytes = fstatSync(file).size;
    const ident = this.#bytes(0, 16, "the ELF header");
    if (ident.getUint32(0, true) !== MAGIC) throw new SymbolError("not an ELF file");
    const layout = LAYOUTS[ident.getUint8(4)];
    if (layout === undefined || ident.getUint8(5) !== 1) throw new SymbolError("not a little-endian ELF file");
    this.#is64 = ident.getUint8(4) === 2;
    this.#layout = layout;
    this.#header = this.#bytes(0, layout.headerBytes, "the ELF header");
  }

  read(): FunctionSymbol[] {
    const sections = this.#sections();
    const table = sections.find(({ type }) => type === SHT_SYMTAB);
    if (table === undefined) throw new SymbolError("it has no symbols: it was stripped");
    const { symbolBytes, value, symbolSize, info, section } = this.#layout;
    const count = Math.floor(table.sizeBytes / symbolBytes);
    if (count > MOST_SYMBOLS) throw new SymbolError(`more than ${MOST_SYMBOLS} symbols`);
    const names = sections[table.link];
    if (names === undefined || names.sizeBytes > MOST_NAME_BYTES) throw new SymbolError("its symbols have no names");
    const view = this.#bytes(table.offset, count * symbolBytes, "its symbols");
    const text = this.#bytes(names.offset, names.sizeBytes, "its symbols' names");
    const found: FunctionSymbol[] = [];
    for (let at = 0; at < count * symbolBytes; at += symbolBytes) {
      const type = view.getUint8(at + info) & 0xf;
      const index = view.getUint16(at + section, true);
      // Functions of assembly files often have no type, but they are in code.
      const isFunction = type === STT.FUNC || (type === STT.NOTYPE && sections[index]?.isCode === true);
      if (!isFunction || index === 0 || index >= SHN_LORESERVE) continue;
      const name = nameAt(text, view.getUint32(at, true));
      if (name !== "") {
        found.push({ address: this.#word(view, at + value), name, sizeBytes: this.#word(view, at + symbolSize) });
      }
    }
    // Of two for an address, the one with a size first: the other is a label.
    return found.sort((a, b) => a.address - b.address || b.sizeBytes! - a.sizeBytes!);
  }

  #sections(): Section[] {
    const { shoff, shentsize, shnum, sectionBytes, flags, offset, size, link } = this.#layout;
    const at = this.#word(this.#header, shoff);
    if (at === 0) throw new SymbolError("it has no sections: it was stripped");
    if (this.#header.getUint16(shentsize, true) !== sectionBytes)
      throw new SymbolError("its section headers are broken");
    // From SHN_LORESERVE on, the first section's size says how many there are.
    const first = this.#bytes(at, sectionBytes, "its section headers");
    const count = this.#header.getUint16(shnum, true) || this.#word(first, size);
    if (count > MOST_SECTIONS) throw new SymbolError(`more than ${MOST_SECTIONS} sections`);
    const view = this.#bytes(at, count * sectionBytes, "its section headers");
    return Array.from({ length: count }, (_, index): Section => {
      const at = index * sectionBytes;
      return {
        type: view.getUint32(at + 4, true),
        isCode: (view.getUint32(at + flags, true) & SHF_EXECINSTR) !== 0,
        offset: this.#word(view, at + offset),
        sizeBytes: this.#word(view, at + size),
        link: view.getUint32(at + link, true),
      };
    });
  }

  /** Negative ones, which no file has, fail where they are used as an offset or a size. */
  #word(view: DataView, at: number): number {
    return this.#is64 ? readAddress(view, at) : view.getUint32(at, true);
  }

  #bytes(offset: number, sizeBytes: number, what: string): DataView {
    if (!(offset >= 0 && sizeBytes >= 0 && offset + sizeBytes <= this.#fileBytes)) {
      throw new SymbolError(`truncated: ${what} lie beyond its ${this.#fileBytes} bytes`);
    }
    const bytes = new Uint8Array(sizeBytes);
    let done = 0;
    while (done < sizeBytes) {
      const read = readSync(this.#file, bytes, done, sizeBytes - done, offset + done);
      if (read === 0) throw new SymbolError(`truncated: ${what} lie beyond its end`);
      done += read;
    }
    return new DataView(bytes.buffer);
  }
}

function nameAt(text: DataView, at: number): string {
  let name = "";
  for (let i = at; i < text.byteLength && name.length < LONGEST_NAME; i++) {
    const byte = text.getUint8(i);
    if (byte === 0) break;
    name += String.fromCharCode(byte);
  }
  return printableName(name);
}
