/** `perf-kvm doctor`: what this host lets the profiler see, and what mends the rest. */
import type { Finding } from "../doctor/finding.js";
import { examine } from "../doctor/findings.js";
import { formatTable } from "../views/table.js";
import { EXIT } from "./errors.js";

export function doctor({ json }: { json?: boolean }): number {
  const { findings, works } = examine();
  process.stdout.write(json ? `${JSON.stringify({ works, findings })}\n` : text(findings, works));
  return works ? EXIT.OK : EXIT.FAILURE;
}

function text(findings: readonly Finding[], works: boolean): string {
  const table = formatTable<Finding>(
    [
      { title: "", cell: ({ verdict }) => verdict },
      { title: "WHAT", cell: ({ what }) => what },
      { title: "FOUND", cell: ({ detail, mend }) => (mend === "" ? detail : `${detail}; ${mend}`) },
    ],
    findings,
  );
  const summary = works
    ? "perf-kvm top works here."
    : "perf-kvm top cannot trace here: it shows exits only of a running vmm of this user, by its ledger.";
  return `${table}\n${summary}\n`;
}
