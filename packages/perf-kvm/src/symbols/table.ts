/** Functions of a kernel by address. */

/** What is wrong with a file of symbols, in one line. */
export class SymbolError extends Error {
  override readonly name = "SymbolError";
}

export interface FunctionSymbol {
  /** See `address.ts`. */
  readonly address: number;
  readonly name: string;
  /** The module that it is in; absent for the kernel's own. */
  readonly module?: string;
  /** 0 where the file does not say: it lasts until the next one. */
  readonly sizeBytes?: number;
}

/** A kernel has some 200,000 functions; a file may claim any number. */
export const MOST_SYMBOLS = 2 ** 21;
/** The last function of a kernel, and of a module, lasts so long where nothing follows. */
const LAST_FUNCTION_BYTES = 4096;

export class SymbolTable {
  readonly #symbols: readonly FunctionSymbol[];
  readonly #addresses: Float64Array;

  /** Of several names for one address the first stays. Throws SymbolError when there is none. */
  constructor(symbols: readonly FunctionSymbol[]) {
    if (symbols.length === 0) throw new SymbolError("there is no function in it");
    const sorted = [...symbols].sort((a, b) => a.address - b.address);
    this.#symbols = sorted.filter(({ address }, index) => index === 0 || address !== sorted[index - 1]!.address);
    this.#addresses = Float64Array.from(this.#symbols, ({ address }) => address);
  }

  get size(): number {
    return this.#symbols.length;
  }

  /** Where the function of this name is; of several the first. */
  addressOf(name: string): number | undefined {
    return this.#symbols.find((symbol) => symbol.name === name)?.address;
  }

  /** The same functions, all of them so many bytes further up. */
  moved(bytes: number): SymbolTable {
    return new SymbolTable(this.#symbols.map((symbol) => ({ ...symbol, address: symbol.address + bytes })));
  }

  /** True when the kernel is in the upper half: what is in the lower one is user space. */
  get isHigh(): boolean {
    return this.#addresses[0]! < 0;
  }

  /** The function that has the byte at this address; undefined when none has. */
  find(address: number): FunctionSymbol | undefined {
    let [low, high] = [0, this.#addresses.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#addresses[middle]! <= address) low = middle + 1;
      else high = middle;
    }
    const symbol = this.#symbols[low - 1];
    if (symbol === undefined) return undefined;
    const next = this.#symbols[low];
    const isLast = next === undefined || next.module !== symbol.module;
    const sizeBytes = symbol.sizeBytes || (isLast ? LAST_FUNCTION_BYTES : Number.POSITIVE_INFINITY);
    return address - symbol.address < sizeBytes ? symbol : undefined;
  }
}
