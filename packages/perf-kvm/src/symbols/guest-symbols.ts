/** Where a guest is: names for its instruction pointers, and for each that has none the reason. */
import { readFileSync, statSync } from "node:fs";
import { readElfSymbols } from "./elf-symbols.js";
import { parseKallsyms } from "./kallsyms.js";
import { type LoadedModule, parseModules } from "./modules.js";
import type { AddressResolver, Resolution } from "./resolver.js";
import { SymbolError, type SymbolTable } from "./table.js";

export interface GuestSymbolFiles {
  /** A copy of the guest's /proc/kallsyms, or its System.map: addresses as they are, modules included. */
  readonly kallsyms?: string;
  /** The guest's kernel as an ELF file with its symbols. */
  readonly vmlinux?: string;
  /** A copy of the guest's /proc/modules: tells which module an address is in. */
  readonly modules?: string;
}

const MOST_FILE_BYTES = 2 ** 26;
/** The first byte of a kernel's code (arch/x86/kernel/vmlinux.lds.S). */
const KERNEL_BEGIN = "_stext";

export class GuestSymbols implements AddressResolver {
  readonly #table: SymbolTable | undefined;
  readonly #modules: readonly LoadedModule[];
  readonly #from: string;
  /** What there is beside the kernel: modules, when the kernel's own are from another file. */
  readonly #beside: SymbolTable | undefined;

  constructor(
    table: SymbolTable | undefined,
    from: string,
    { modules = [], beside }: { modules?: readonly LoadedModule[]; beside?: SymbolTable | undefined } = {},
  ) {
    this.#table = table;
    this.#from = from;
    this.#modules = modules;
    this.#beside = beside;
  }

  /**
   * With both files the kernel's functions are those of vmlinux, moved to where kallsyms says that the kernel is (KASLR), and the
   * modules' those of kallsyms. Throws SymbolError, whose message begins with the path.
   */
  static fromFiles({ kallsyms, vmlinux, modules }: GuestSymbolFiles): GuestSymbols {
    const loaded = modules === undefined ? [] : read(modules, (file) => parseModules(textOf(file)));
    const running = kallsyms === undefined ? undefined : read(kallsyms, (file) => parseKallsyms(textOf(file)));
    const linked = vmlinux === undefined ? undefined : read(vmlinux, readElfSymbols);
    if (linked === undefined) return new GuestSymbols(running, kallsyms ?? "", { modules: loaded });
    if (running === undefined) return new GuestSymbols(linked, vmlinux!, { modules: loaded });
    const [from, to] = [linked.addressOf(KERNEL_BEGIN), running.addressOf(KERNEL_BEGIN)];
    if (from === undefined || to === undefined)
      throw new SymbolError(
        `${from === undefined ? vmlinux : kallsyms}: has no ${KERNEL_BEGIN}, by which the two are compared`,
      );
    return new GuestSymbols(linked.moved(to - from), vmlinux!, { modules: loaded, beside: running });
  }

  resolve(address: number): Resolution {
    const table = this.#table;
    const isHigh = table?.isHigh ?? true;
    const symbol = table?.find(address) ?? this.#beside?.find(address);
    if (symbol !== undefined) {
      const { name, module } = symbol;
      return { name, offset: address - symbol.address, ...(module === undefined ? {} : { module }) };
    }
    if (isHigh && address >= 0 && table !== undefined) return { why: "user space of the guest" };
    const module = this.#modules.find((each) => address >= each.address && address < each.address + each.sizeBytes);
    if (module !== undefined) {
      return { why: `in module ${module.name}, whose symbols are not given: --guest-kallsyms has them` };
    }
    if (table === undefined) {
      return { why: "no symbols of the guest are given: --guest-kallsyms FILE or --guest-vmlinux FILE" };
    }
    return isModuleArea(address)
      ? { why: "in a module that is not known: --guest-kallsyms has those that were loaded" }
      : { why: `outside of the kernel of ${this.#from}` };
  }
}

/** Linux for x86-64 puts its modules here (Documentation/x86/x86_64/mm.rst): ffffffffa0000000 to ffffffffff000000. */
function isModuleArea(address: number): boolean {
  return address >= -0x6000_0000 && address < -0x100_0000;
}

function textOf(path: string): string {
  if (statSync(path).size > MOST_FILE_BYTES) throw new SymbolError("longer than 64 MiB");
  const bytes = readFileSync(path);
  if (bytes.length > MOST_FILE_BYTES) throw new SymbolError("longer than 64 MiB");
  return bytes.toString("latin1");
}

function read<Result>(path: string, parse: (path: string) => Result): Result {
  try {
    // A path may be anybody's: a pipe would never end.
    if (!statSync(path).isFile()) throw new SymbolError("not a file");
    return parse(path);
  } catch (error) {
    if (error instanceof SymbolError) throw new SymbolError(`${path}: ${error.message}`);
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new SymbolError(`${path}: ${code === "ENOENT" ? "there is no such file" : code}`);
  }
}
