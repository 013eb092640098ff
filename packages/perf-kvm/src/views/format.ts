/** Numbers as a person reads them, in few characters. */

/** `850 ns`, `8.42 us`, `16.6 ms`, `2.10 s`; `-` for what cannot be known. */
export function formatNs(ns: number | null): string {
  if (ns === null) return "-";
  if (ns < 1e3) return `${Math.round(ns)} ns`;
  const [value, unit] = ns < 1e6 ? [ns / 1e3, "us"] : ns < 1e9 ? [ns / 1e6, "ms"] : [ns / 1e9, "s"];
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ${unit}`;
}

/** `0.5`, `12`, `9.41k`, `1.20M`. */
export function formatCount(count: number): string {
  if (count < 10) return String(Number(count.toFixed(1)));
  if (count < 1e4) return String(Math.round(count));
  const [value, unit] = count < 1e6 ? [count / 1e3, "k"] : count < 1e9 ? [count / 1e6, "M"] : [count / 1e9, "G"];
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)}${unit}`;
}

export function formatShare(share: number | null): string {
  return share === null ? "-" : `${(100 * share).toFixed(1)}%`;
}

/** `512 KiB`, `128 MiB`, `1.5 GiB`; `-` for what cannot be known. */
export function formatBytes(bytes: number | null): string {
  if (bytes === null) return "-";
  const [value, unit] =
    bytes < 2 ** 20
      ? [bytes / 2 ** 10, "KiB"]
      : bytes < 2 ** 30
        ? [bytes / 2 ** 20, "MiB"]
        : bytes < 2 ** 40
          ? [bytes / 2 ** 30, "GiB"]
          : [bytes / 2 ** 40, "TiB"];
  return `${Number(value.toFixed(1))} ${unit}`;
}
