/** The symbols of a running kernel as /proc/kallsyms has them (kernel/kallsyms.c, s_show); System.map has the same form. */
import { addressOf } from "./address.js";
import { type FunctionSymbol, MOST_SYMBOLS, SymbolError, SymbolTable } from "./table.js";

const LINE = /^([0-9a-f]{1,16}) ([A-Za-z?]) (\S{1,512})(?:\s+\[(\S{1,64})\])?$/;
/** nm(1): in the text section, or weak. */
const FUNCTION_TYPES = "tTwW";

/** Throws SymbolError. */
export function parseKallsyms(text: string): SymbolTable {
  const symbols: FunctionSymbol[] = [];
  let hasNonZero = false;
  let lineNumber = 0;
  for (let at = 0; at < text.length; ) {
    const newline = text.indexOf("\n", at);
    const end = newline === -1 ? text.length : newline;
    const match = end - at > 1024 ? null : LINE.exec(text.slice(at, end));
    lineNumber++;
    if (match === null && end > at) throw new SymbolError(`line ${lineNumber} is none of kallsyms: ADDRESS TYPE NAME`);
    at = end + 1;
    if (match === null || !FUNCTION_TYPES.includes(match[2]!)) continue;
    const address = addressOf(match[1]!);
    if (address !== 0) hasNonZero = true;
    if (symbols.length === MOST_SYMBOLS) throw new SymbolError(`more than ${MOST_SYMBOLS} functions`);
    symbols.push({ address, name: printableName(match[3]!), ...(match[4] === undefined ? {} : { module: match[4] }) });
  }
  if (symbols.length > 0 && !hasNonZero) {
    throw new SymbolError(
      "all addresses are 0: the guest hides them; read it as root, with kernel.kptr_restrict=0 or 1",
    );
  }
  return new SymbolTable(symbols);
}

/** A name that anybody may choose, without what would steer a terminal. */
export function printableName(name: string): string {
  return name.replace(/[^\x21-\x7e]/g, "?");
}
