/**
 * OVMF, as Debian has it, reaches its shell, and a variable that is set there is still set in a machine that starts later with the
 * same file of variables.
 * Exit status: 0 when all is as it should be, 77 when OVMF is not installed.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { endAll, start, until } from "./programs.mjs";

const OVMF = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const PROMPT = "Shell> ";
/** A number whose bytes, which `setvar` shows lowest first, read the same from both ends. */
const VALUE = "5AC3C35A";
/** A vendor's name space, which takes any name. */
const VARIABLE = "Kept -guid 6d7b31ac-25d1-4d0f-9b0a-3c4f7a1e8b52";

if (!existsSync(OVMF)) {
  console.log("needs OVMF: apt-get install ovmf");
  process.exit(77);
}

const folder = mkdtempSync(join(tmpdir(), "ovmf-"));
try {
  const variables = join(folder, "machine.vars");
  await inShell(variables, [`setvar ${VARIABLE} -nv -bs =0x${VALUE}`]);
  const seen = await inShell(variables, [`setvar ${VARIABLE}`]);
  if (!seen.replaceAll(" ", "").includes(VALUE)) {
    console.log(`FAULT: the variable is gone: ${seen}`);
    process.exitCode = 1;
  }
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}

/** Starts a machine, types `commands` into its shell, powers off. Resolves with what the shell said meanwhile. */
async function inShell(variables, commands) {
  const machine = start(process.execPath, [
    ...["packages/vmm/dist/cli.js", "run", "--firmware", "ovmf", "--firmware-vars", variables],
    ...["--memory", "256M", "--name", `ovmf-${process.pid}`],
  ]);
  await until("the startup script's countdown", machine, () => machine.out.text.includes("startup.nsh"));
  machine.child.stdin.write("\x1b");
  let from = 0;
  const prompt = () => machine.out.text.indexOf(PROMPT, from);
  for (const command of [...commands, "reset -s"]) {
    await until("the shell's prompt", machine, () => prompt() >= 0);
    from = prompt() + PROMPT.length;
    machine.child.stdin.write(`${command}\r`);
  }
  const status = await machine.done;
  if (status !== 0) throw new Error(`status ${status}: ${machine.out.errors}`);
  return machine.out.text.slice(machine.out.text.indexOf(PROMPT));
}
