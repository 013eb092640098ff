/**
 * npm test: sets up, builds, and runs every test this machine can run.
 * Only what an old Node understands stands here, so that it can say that it is old.
 */
import { nodeFinding, nodeIsRecentEnough } from "./findings.mjs";

if (nodeIsRecentEnough(process.versions.node)) {
  import("./test-command.mjs").then(({ test }) => test(process.argv.slice(2)));
} else {
  const { problem, remedy } = nodeFinding(process.versions.node);
  console.error(`tools-kvm: ${problem}: ${remedy}`);
  process.exitCode = 1;
}
