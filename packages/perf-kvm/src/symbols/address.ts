/**
 * Guest addresses as numbers: 64 bits, taken as signed. A kernel's are small negative ones then, and every canonical
 * address of 48 bits is exact (SDM volume 1, 3.3.7.1).
 */

const TWO_32 = 2 ** 32;

/** The address of these hexadecimal digits (at most 16); NaN when they are none. */
export function addressOf(digits: string): number {
  if (!/^[0-9a-f]{1,16}$/i.test(digits)) return Number.NaN;
  const high = digits.length > 8 ? Number.parseInt(digits.slice(0, -8), 16) | 0 : 0;
  return high * TWO_32 + Number.parseInt(digits.slice(-8), 16);
}

export function readAddress(view: DataView, at: number): number {
  return view.getInt32(at + 4, true) * TWO_32 + view.getUint32(at, true);
}

/** `0xffffffff81000000`. */
export function addressText(address: number): string {
  return `0x${BigInt.asUintN(64, BigInt(address)).toString(16)}`;
}
