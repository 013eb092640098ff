/**
 * Programs of Debian packages that would start a service if they were installed: the package is only downloaded and unpacked,
 * below node_modules/.cache, and root is not needed for it. Tests find them by `unpackedProgram`.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runQuietly } from "./child.mjs";

const CACHE = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), "node_modules", ".cache", "tools-kvm");

/** @param {string} debianPackage */
const folderOf = (debianPackage) => join(CACHE, debianPackage);

/**
 * Where a program is: on PATH, or unpacked; undefined when neither.
 *
 * @param {string} debianPackage
 * @param {string} program
 * @returns {string | undefined}
 */
export function unpackedProgram(debianPackage, program) {
  const folders = [...(process.env.PATH ?? "").split(delimiter), join(folderOf(debianPackage), "usr/bin")];
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

/**
 * Downloads and unpacks a package; says in one line when it cannot be had, which stops nothing.
 *
 * @param {string} debianPackage
 */
export async function unpack(debianPackage) {
  const folder = folderOf(debianPackage);
  const unfinished = `${folder}.${process.pid}.part`;
  mkdirSync(unfinished, { recursive: true });
  try {
    const got = await runQuietly(`downloading ${debianPackage}`, ["apt-get", "download", debianPackage], {
      cwd: unfinished,
    });
    const archive = readdirSync(unfinished).find((name) => name.endsWith(".deb"));
    if (got.status === 0 && archive !== undefined) {
      const content = join(unfinished, "content");
      const outcome = await runQuietly(`unpacking ${debianPackage}`, [
        "dpkg-deb",
        "-x",
        join(unfinished, archive),
        content,
      ]);
      if (outcome.status === 0) {
        rmSync(folder, { recursive: true, force: true });
        return renameSync(content, folder);
      }
    }
    process.stderr.write(`tools-kvm: ${debianPackage} cannot be downloaded; what compares with it is skipped\n`);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}
