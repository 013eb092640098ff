/** Where a kernel's modules are, as /proc/modules has it (kernel/module/procfs.c, m_show). */
import { addressOf } from "./address.js";
import { printableName } from "./kallsyms.js";
import { SymbolError } from "./table.js";

export interface LoadedModule {
  readonly name: string;
  readonly address: number;
  readonly sizeBytes: number;
}

const LINE = /^(\S{1,64}) (\d{1,12}) \S+ \S+ \S+ 0x([0-9a-f]{1,16})( .*)?$/;
const MOST_MODULES = 16_384;

/** Throws SymbolError. */
export function parseModules(text: string): LoadedModule[] {
  const lines = text.split("\n", MOST_MODULES + 2).filter((line) => line !== "");
  if (lines.length > MOST_MODULES) throw new SymbolError(`more than ${MOST_MODULES} modules`);
  const modules = lines.map((line, index): LoadedModule => {
    const match = line.length > 8192 ? null : LINE.exec(line);
    if (match === null) {
      throw new SymbolError(`line ${index + 1} is none of /proc/modules: NAME SIZE USERS NEEDED-BY STATE ADDRESS`);
    }
    return { name: printableName(match[1]!), sizeBytes: Number(match[2]), address: addressOf(match[3]!) };
  });
  if (modules.length > 0 && modules.every(({ address }) => address === 0)) {
    throw new SymbolError("all addresses are 0: the guest hides them; read it as root");
  }
  return modules;
}
