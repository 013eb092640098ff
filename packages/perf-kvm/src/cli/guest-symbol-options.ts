/** The options that name a guest's symbols, of every command that shows its instructions. */
import { symbolsOfMachines } from "../symbols/machine-symbols.js";
import type { AddressResolver } from "../symbols/resolver.js";
import { SymbolError } from "../symbols/table.js";
import { CliError } from "./errors.js";

export interface GuestSymbolOptions {
  readonly guestKallsyms?: string;
  readonly guestVmlinux?: string;
  readonly guestModules?: string;
}

/** Throws CliError when a file is none, or is not there. */
export function guestSymbolsOf({
  guestKallsyms,
  guestVmlinux,
  guestModules,
}: GuestSymbolOptions): (machine: { readonly pid: number }) => AddressResolver {
  try {
    return symbolsOfMachines({ kallsyms: guestKallsyms, vmlinux: guestVmlinux, modules: guestModules });
  } catch (error) {
    if (error instanceof SymbolError) throw new CliError(`guest symbols: ${error.message}`);
    throw error;
  }
}
