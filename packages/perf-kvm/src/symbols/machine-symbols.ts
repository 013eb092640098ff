/** Symbols of a running machine's guest: those that were asked for, or what the machine itself says of the kernel that it has booted. */
import { ExitLedger, KvmError } from "@tools-kvm/kvm-binding";
import { type GuestSymbolFiles, GuestSymbols } from "./guest-symbols.js";
import type { AddressResolver } from "./resolver.js";
import { SymbolError } from "./table.js";

/** Throws SymbolError for a file that was asked for; what a machine says and does not hold is a reason, not an error. */
export function symbolsOfMachines(files: GuestSymbolFiles): (machine: { readonly pid: number }) => AddressResolver {
  if (Object.values(files).some((path) => path !== undefined)) {
    const symbols = GuestSymbols.fromFiles(files);
    return () => symbols;
  }
  return ({ pid }) => symbolsOfProcess(pid);
}

function symbolsOfProcess(pid: number): AddressResolver {
  const place = placeOf(pid);
  if (place === undefined) return new GuestSymbols(undefined, "");
  if ("why" in place) return nameless(place.why);
  try {
    return GuestSymbols.fromFiles({ vmlinux: place.path });
  } catch (error) {
    if (!(error instanceof SymbolError)) throw error;
    return nameless(error.message);
  }
}

function placeOf(pid: number) {
  let ledgers: readonly ExitLedger[] = [];
  try {
    ledgers = ExitLedger.openPid(pid);
    return ledgers[0]?.guestSymbols;
  } catch (error) {
    // A file of that name that is no ledger.
    if (error instanceof KvmError) return undefined;
    throw error;
  } finally {
    for (const ledger of ledgers) ledger.close();
  }
}

function nameless(why: string): AddressResolver {
  return { resolve: () => ({ why }) };
}
