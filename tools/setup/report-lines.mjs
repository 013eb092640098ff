/**
 * The two kinds of line by which a test run says what it did, whoever runs it: vitest here, vitest in the lab, a script.
 * They are part of a task's output, so nx repeats them when it takes the task from its cache.
 *
 *   tools-kvm skipped: src/vm.test.ts > a VM > runs [needs /dev/kvm]
 *   tools-kvm counts: 12 passed, 0 failed, 1 skipped
 *
 * @typedef {{ passed: number, failed: number, skipped: number }} Counts
 * @typedef {{ test: string, reason: string }} Skipped
 */

const SKIPPED = /^tools-kvm skipped: (.*) \[([^\]]*)\]$/;
const COUNTS = /^tools-kvm counts: (\d+) passed, (\d+) failed, (\d+) skipped$/;

/** @param {Skipped} skipped */
export function skippedLine({ test, reason }) {
  return `tools-kvm skipped: ${oneLine(test)} [${oneLine(reason).replaceAll("]", ")").replaceAll("[", "(")}]`;
}

/** @param {Counts} counts */
export function countsLine(counts) {
  return `tools-kvm counts: ${totals(counts)}`;
}

/** @param {Counts} counts */
export function totals({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

/**
 * @param {string} line
 * @returns {Skipped | undefined}
 */
export function parseSkippedLine(line) {
  const match = SKIPPED.exec(line);
  return match === null ? undefined : { test: match[1], reason: match[2] };
}

/**
 * @param {string} line
 * @returns {Counts | undefined}
 */
export function parseCountsLine(line) {
  const match = COUNTS.exec(line);
  return match === null ? undefined : { passed: Number(match[1]), failed: Number(match[2]), skipped: Number(match[3]) };
}

/** @param {string} text */
function oneLine(text) {
  return text.replace(/\s+/g, " ").trim();
}
