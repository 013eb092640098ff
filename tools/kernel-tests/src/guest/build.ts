/** The build's last step: assembles all guest code in one go, and compiles the raw ioctl helper. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import "../themes/index.js";
import { RAW_IOCTL } from "../raw-ioctl.js";
import { allSnippets, CODE, CODE_FILE, INDEX_FILE, SNIPPET_BYTES } from "./code.js";

const GUESTS = fileURLToPath(new URL("../native/guests/", import.meta.url));
/** For CODE, without a library or anything that the guest has not set up. The first function is the entry. */
const FREESTANDING = [
  ...["-std=gnu11", "-O2", "-m64", "-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-no-pie", "-mno-red-zone"],
  ...["-mgeneral-regs-only", "-fcf-protection=none", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"],
  ...["-Wall", "-Wextra", "-Werror", "-Wl,--build-id=none", `-Wl,-Ttext=${CODE}`],
];

/** Guests in C, as NAME.bin, for snippets to include. */
function compileAll(folder: string): void {
  const run = (program: string, ...words: string[]) => execFileSync(program, words, { cwd: folder, stdio: "inherit" });
  for (const file of readdirSync(GUESTS)) {
    const name = basename(file, ".c");
    run(process.env.CC ?? "cc", ...FREESTANDING, "-o", `${name}.elf`, join(GUESTS, file));
    run("objcopy", "-O", "binary", "--only-section=.text*", "--only-section=.rodata*", `${name}.elf`, `${name}.bin`);
  }
}

function assembleAll(folder: string): void {
  const snippets = allSnippets();
  const source = snippets.map(
    ({ bits, text }, i) => `.section .guest${i},"ax",@progbits\n.code${bits}\n${text}\n.org ${SNIPPET_BYTES}, 0\n`,
  );
  // Every snippet believes to be at CODE; in the file they lie one behind the other.
  const sections = snippets.map((_, i) => `.guest${i} ${CODE} : AT(${i * SNIPPET_BYTES}) { *(.guest${i}) }`);
  const path = (name: string): string => join(folder, name);
  writeFileSync(path("guests.s"), `.intel_syntax noprefix\n${source.join("")}`);
  writeFileSync(path("guests.ld"), `SECTIONS {\n${sections.join("\n")}\n/DISCARD/ : { *(*) }\n}\n`);
  const run = (program: string, ...words: string[]) => execFileSync(program, words, { cwd: folder, stdio: "inherit" });
  run("as", "--64", "-o", "guests.o", "guests.s");
  run("ld", "-T", "guests.ld", "--no-check-sections", "-o", "guests.elf", "guests.o");
  run("objcopy", "-O", "binary", "guests.elf", fileURLToPath(CODE_FILE));
  writeFileSync(INDEX_FILE, JSON.stringify(Object.fromEntries(snippets.map(({ key }, i) => [key, i]))));
}

const folder = mkdtempSync(join(tmpdir(), "kernel-tests-"));
try {
  compileAll(folder);
  assembleAll(folder);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
const source = fileURLToPath(new URL("../native/raw-ioctl.c", import.meta.url));
execFileSync(process.env.CC ?? "cc", ["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", RAW_IOCTL, source], {
  stdio: "inherit",
});
