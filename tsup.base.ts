import type { Options } from "tsup";

/** What every package's tsup build has in common: ESM for Node 20, types beside it, dependencies left outside. */
export function bundle(options: Pick<Options, "entry"> & Options): Options {
  return {
    format: ["esm"],
    target: "node20",
    platform: "node",
    sourcemap: true,
    clean: true,
    dts: true,
    splitting: true,
    ...options,
  };
}
