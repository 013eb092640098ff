/**
 * npm start: sets up, builds, and boots the embedded guest on this terminal; without a terminal, its self-check.
 * Only what an old Node understands stands here, so that it can say that it is old.
 */
import { nodeFinding, nodeIsRecentEnough } from "./findings.mjs";

if (nodeIsRecentEnough(process.versions.node)) {
  import("./start-command.mjs").then(({ start }) => start(process.argv.slice(2)));
} else {
  const { problem, remedy } = nodeFinding(process.versions.node);
  console.error(`tools-kvm: ${problem}: ${remedy}`);
  process.exitCode = 1;
}
