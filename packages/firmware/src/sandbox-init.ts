import { packageFile } from "./package-file.js";

/** Path of the first process of `vmm sandbox`'s guests: a static program for Linux that reads /job and runs what that says. */
export function sandboxInitPath(): string {
  return packageFile("sandbox-init");
}
