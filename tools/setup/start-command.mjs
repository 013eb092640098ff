/** What npm start does on a Node that is recent enough. */
import { join } from "node:path";
import { passSignalsOn, runHere } from "./child.mjs";
import { build, prepare, ROOT } from "./prepare.mjs";

const VMM = [process.execPath, join(ROOT, "packages/vmm/bin/vmm.js"), "run"];
/** Without a terminal: the guest checks the machine under it, the exit table says what that took, and its status decides. */
const SELF_CHECK = ["--append", "run=selftest; poweroff", "--exits"];

/** @param {string[]} words Passed on to `vmm run`. */
export async function start(words) {
  passSignalsOn();
  await prepare({ needsKvm: true });
  await build();
  if (words.length > 0 || process.stdin.isTTY) {
    process.exitCode = await runHere([...VMM, ...words]);
  } else {
    const status = await runHere([...VMM, ...SELF_CHECK]);
    process.exitCode = status === 0 ? 0 : 1;
  }
}
