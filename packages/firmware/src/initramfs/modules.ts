/**
 * Which kernel modules to load for a wish such as "kvm-amd", and in which order: read from `modules.dep` and `modules.builtin`
 * as depmod writes them (modules.dep(5)).
 */

export interface KernelModule {
  /** As the kernel names it: `kvm_amd`. */
  name: string;
  /** Path below the module directory: `kernel/arch/x86/kvm/kvm-amd.ko`. */
  path: string;
}

export interface ModuleIndex {
  /** Loadable modules by name, each with the paths modules.dep lists behind it. */
  loadable: ReadonlyMap<string, { path: string; dependencies: readonly string[] }>;
  /** Names of what is part of the kernel itself. */
  builtin: ReadonlySet<string>;
}

/** `kernel/fs/9p/9p.ko.xz` and `kvm-amd` to `9p` and `kvm_amd`: the kernel takes '-' and '_' for the same letter. */
export function moduleName(pathOrName: string): string {
  const base = pathOrName.slice(pathOrName.lastIndexOf("/") + 1);
  return base.replace(/\.ko(\.(gz|xz|zst))?$/, "").replaceAll("-", "_");
}

export function parseModuleIndex(modulesDep: string, modulesBuiltin: string): ModuleIndex {
  const loadable = new Map<string, { path: string; dependencies: readonly string[] }>();
  for (const line of modulesDep.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const path = line.slice(0, colon).trim();
    const dependencies = line.slice(colon + 1).trim();
    loadable.set(moduleName(path), { path, dependencies: dependencies === "" ? [] : dependencies.split(/\s+/) });
  }
  const builtin = new Set(modulesBuiltin.split("\n").filter(Boolean).map(moduleName));
  return { loadable, builtin };
}

/**
 * The modules to insert for `wanted`, dependencies first, each once; what is built in needs none.
 * `missing` are the wishes, and the dependencies, that are neither.
 */
export function resolveModules(
  index: ModuleIndex,
  wanted: readonly string[],
): { order: KernelModule[]; missing: string[] } {
  const order: KernelModule[] = [];
  const missing: string[] = [];
  const seen = new Set<string>();

  const visit = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    const entry = index.loadable.get(name);
    if (entry === undefined) {
      if (!index.builtin.has(name)) missing.push(name);
      return;
    }
    // modules.dep lists the nearest dependency first.
    for (const dependency of [...entry.dependencies].reverse()) visit(moduleName(dependency));
    order.push({ name, path: entry.path });
  };

  for (const wish of wanted) visit(moduleName(wish));
  return { order, missing };
}
