/**
 * A vitest reporter that says at the end of a run how many tests there were and which were skipped, in report-lines.mjs's form.
 *
 * Why a test was skipped comes from `context.skip("needs a tap device")`, or from its title or that of a group around it:
 * `describe.skipIf(!kvm)("a VM (needs /dev/kvm)", ...)`, or "(skipped: ...)".
 */
import { relative } from "node:path";
import { countsLine, skippedLine } from "./report-lines.mjs";

export default class CountingReporter {
  /**
   * @param {ReadonlyArray<import("vitest/node").TestModule>} modules
   * @param {ReadonlyArray<unknown>} unhandledErrors
   */
  onTestRunEnd(modules, unhandledErrors) {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    const lines = [];
    for (const module of modules) {
      // A file that cannot be loaded, or whose hooks fail, has failed even if no test of it has.
      if (module.errors().length > 0) counts.failed++;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === "passed") counts.passed++;
        else if (result.state === "failed") counts.failed++;
        else {
          counts.skipped++;
          const name = `${relative(process.cwd(), module.moduleId)} > ${test.fullName}`;
          lines.push(
            skippedLine({ test: name, reason: skipReason(test.fullName, test.options.mode, skipNote(result)) }),
          );
        }
      }
    }
    process.stdout.write(`${[...lines, countsLine(counts)].join("\n")}\n`);
  }
}

/** @param {import("vitest/node").TestResult} result */
function skipNote(result) {
  return result.state === "skipped" ? result.note : undefined;
}

/**
 * @param {string} fullName
 * @param {string | undefined} mode
 * @param {string | undefined} note
 */
export function skipReason(fullName, mode, note) {
  if (note !== undefined && note !== "") return note;
  const need = /\((needs? [^()]*)\)/.exec(fullName)?.[1] ?? /\(skipped: ([^()]*)\)/.exec(fullName)?.[1];
  return need ?? (mode === "todo" ? "to do" : "gave no reason");
}
