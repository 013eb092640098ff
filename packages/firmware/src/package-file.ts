import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** The path of a file that this package has built. */
export function packageFile(name: string): string {
  // By name and not by this file's place: the vmm command carries this code inside files of its own.
  const packageJson = createRequire(import.meta.url).resolve("@tools-kvm/firmware/package.json");
  return join(dirname(packageJson), "dist", name);
}
