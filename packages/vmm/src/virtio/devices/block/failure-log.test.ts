/** One line for many failures of a kind. */
import { expect, it } from "vitest";
import { FailureLog, QUIET_NS } from "./failure-log.js";

it("tells the first failure of each kind, and how many more there were when it tells again", () => {
  const lines: string[] = [];
  let now = 0;
  const log = new FailureLog(
    (line) => lines.push(line),
    () => now,
  );
  for (let i = 0; i < 1000; i++) log.failed("ENOSPC", "ENOSPC: no space left on device, write");
  log.failed("EIO", "it was truncated");
  expect(lines).toEqual(["ENOSPC: no space left on device, write", "EIO: it was truncated"]);
  now += QUIET_NS;
  for (let i = 0; i < 10; i++) log.failed("ENOSPC", "ENOSPC: no space left on device, write");
  expect(lines.slice(2)).toEqual(["ENOSPC: no space left on device, write (and 999 more before it)"]);
});
