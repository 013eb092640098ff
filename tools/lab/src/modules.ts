/** A kernel's list of modules, from its directory. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type ModuleIndex, parseModuleIndex } from "@tools-kvm/firmware";
import { LabError } from "./errors.js";

/** @throws LabError when the directory holds no modules.dep. */
export function readModuleIndex(directory: string): ModuleIndex {
  let modulesDep: string;
  try {
    modulesDep = readFileSync(join(directory, "modules.dep"), "utf8");
  } catch {
    throw new LabError(
      `${directory} holds no modules.dep`,
      `depmod -b ROOT VERSION, or make modules_install INSTALL_MOD_PATH=ROOT`,
    );
  }
  return parseModuleIndex(modulesDep, readIfThere(join(directory, "modules.builtin")));
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
