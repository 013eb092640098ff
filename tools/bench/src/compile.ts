/** Builds a peer that is written in C, when it is first needed and whenever its source has changed since. */
import { mkdirSync, renameSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { BenchError, type MissingPeer } from "./bench.js";
import { which } from "./find-program.js";
import type { Programs } from "./programs.js";

/** The path of the program made of c/NAME.c, or why there is none. Throws BenchError when it does not compile. */
export async function compile(name: string, programs: Programs): Promise<string | MissingPeer> {
  const source = fileURLToPath(new URL(`../c/${name}.c`, import.meta.url));
  const program = fileURLToPath(new URL(`../build/${name}`, import.meta.url));
  if (modifiedMs(program) > modifiedMs(source)) return program;
  const cc = which(process.env.CC ?? "cc");
  if (cc === undefined) {
    return { name: `tools/bench/c/${name}.c`, missing: "no peer: there is no C compiler; apt-get install gcc" };
  }
  mkdirSync(dirname(program), { recursive: true });
  const unfinished = `${program}.${process.pid}`;
  try {
    await programs.run([cc, "-O2", "-Wall", "-Wextra", "-o", unfinished, source]);
  } catch (error) {
    throw new BenchError(`the peer does not compile: ${(error as Error).message}`);
  }
  renameSync(unfinished, program);
  return program;
}

function modifiedMs(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
