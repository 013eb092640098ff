/** The small root that a sandbox starts in: its first process, the modules, and what it is to do. */
import { readFileSync } from "node:fs";
import { cpioArchive, sandboxInitPath } from "@tools-kvm/firmware";
import { encodeJob, type SandboxJob } from "./job.js";
import { moduleFile } from "./module-file.js";

const CONSOLE = { major: 5, minor: 1 };
const EXECUTABLE = 0o755;

/** Throws RangeError when the job is too long. */
export function sandboxInitramfs(modules: readonly string[], job: Omit<SandboxJob, "modules">): Buffer {
  const files = modules.map((source, index) => {
    const { name, content } = moduleFile(source);
    return { kind: "file" as const, path: `modules/${index}-${name}`, content };
  });
  return cpioArchive([
    { kind: "directory", path: "dev" },
    { kind: "character-device", path: "dev/console", ...CONSOLE },
    { kind: "directory", path: "modules" },
    { kind: "file", path: "init", content: readFileSync(sandboxInitPath()), mode: EXECUTABLE },
    { kind: "file", path: "job", content: encodeJob({ ...job, modules: files.map(({ path }) => `/${path}`) }) },
    ...files,
  ]);
}
