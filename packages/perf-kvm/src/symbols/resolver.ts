/** What names the addresses of a guest, and what it says of them. */

/** A function and how far into it, in bytes; or why there is none. */
export type Resolution =
  | { readonly name: string; readonly offset: number; readonly module?: string }
  | { readonly why: string };

export interface AddressResolver {
  /** @param address 64 bits, taken as signed: `address.ts` */
  resolve(address: number): Resolution;
}

/** `io_pio`, `virtio_net:xmit_skb`; undefined where there is no name. */
export function functionOf(resolution: Resolution): string | undefined {
  if ("why" in resolution) return undefined;
  return resolution.module === undefined ? resolution.name : `${resolution.module}:${resolution.name}`;
}
