/** The `initramfs` command: an archive for a guest of ours, from a script and the names of modules. */
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { LabError } from "./errors.js";
import { buildInitramfs } from "./initramfs.js";

const HELP = `initramfs - writes a small initramfs: busybox, a script, kernel modules

  npm run initramfs -- --script FILE --out FILE [--modules NAME,NAME... --kernel-version VERSION]

  --script FILE             for busybox's sh; /proc, /sys, /dev and the modules are there when it starts, and the guest
                            is switched off when it ends. \`end N\` ends vmm with status 2N + 1
  --modules NAMES           inserted before it, with what they depend on
  --kernel-version VERSION  whose modules: a folder of /lib/modules, or a path with modules.dep in it
  --file PATH=FILE          one more file; may be repeated. Those below bin/ can be executed
  --out FILE                the archive
`;

const EXIT = { OK: 0, USAGE: 2 } as const;

function main(): number {
  const { values } = parseArgs({
    options: {
      script: { type: "string" },
      modules: { type: "string", default: "" },
      "kernel-version": { type: "string" },
      file: { type: "string", multiple: true, default: [] },
      out: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return EXIT.OK;
  }
  if (values.script === undefined || values.out === undefined) throw new LabError("--script and --out are needed");
  const version = values["kernel-version"];
  const archive = buildInitramfs({
    script: readFileSync(fromCaller(values.script), "utf8"),
    modules: values.modules.split(",").filter(Boolean),
    files: Object.fromEntries(values.file.map(fileOption)),
    ...(version === undefined ? {} : { modulesDirectory: version.includes("/") ? version : `/lib/modules/${version}` }),
  });
  writeFileSync(fromCaller(values.out), archive);
  return EXIT.OK;
}

function fileOption(text: string): [string, Uint8Array] {
  const equals = text.indexOf("=");
  if (equals <= 0) throw new LabError(`--file ${text} is not PATH=FILE`);
  return [text.slice(0, equals), readFileSync(fromCaller(text.slice(equals + 1)))];
}

/** npm runs a script at the root of the checkout; paths are meant from where npm was called. */
function fromCaller(path: string): string {
  const { npm_lifecycle_event, INIT_CWD } = process.env;
  return npm_lifecycle_event === "initramfs" && INIT_CWD !== undefined && !path.startsWith("/")
    ? `${INIT_CWD}/${path}`
    : path;
}

try {
  process.exitCode = main();
} catch (error) {
  process.stderr.write(`initramfs: ${(error as Error).message}\n`);
  process.exitCode = EXIT.USAGE;
}
