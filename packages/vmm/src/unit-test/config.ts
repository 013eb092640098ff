/**
 * kvm-unit-tests' list of tests, `unittests.cfg`: a section a test, `key = value` lines in it (the format is described at
 * the head of that file in the project's own tree).
 */

/** A section, as it stands there. */
export interface TestEntry {
  readonly name: string;
  /** The image, relative to the configuration. */
  readonly file: string;
  /** A number, or an expression of `$MAX_SMP`. */
  readonly smp: string;
  /** What QEMU would be given beside the image. */
  readonly qemuParams: string;
  /** The image's command line, where it has a key of its own. */
  readonly testArgs?: string;
  readonly arch?: string;
  readonly groups: readonly string[];
  /** Seconds, as written. */
  readonly timeout?: string;
  /** `PATH=VALUE` pairs that have to hold on the host. */
  readonly check?: string;
  readonly accel?: string;
  /** Where the section begins, from 1. */
  readonly line: number;
}

/** A line that is neither a section nor a key of one. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  constructor(
    readonly line: number,
    what: string,
  ) {
    super(what);
  }
}

const SECTION = /^\[([^\]]+)\]$/;
const ASSIGNMENT = /^([A-Za-z_]+)\s*=\s*(.*)$/;
const LONG_QUOTE = '"""';
const SHOWN_CHARACTERS = 60;

/** All tests in their order. Throws ConfigError. */
export function parseConfig(text: string): TestEntry[] {
  const sections: { name: string; line: number; keys: Map<string, string> }[] = [];
  const lines = text.split("\n");
  for (let i = 0; i < lines.length; i++) {
    const number = i + 1;
    const line = lines[i]!.trim();
    if (line === "" || line.startsWith("#")) continue;
    const name = SECTION.exec(line)?.[1];
    if (name !== undefined) {
      sections.push({ name: name.trim(), line: number, keys: new Map() });
      continue;
    }
    const [, key, value] = ASSIGNMENT.exec(line) ?? [];
    const section = sections.at(-1);
    if (key === undefined || value === undefined) throw new ConfigError(number, `not understood: ${shown(line)}`);
    if (section === undefined) throw new ConfigError(number, `${key} stands before the first [test]`);
    if (!value.startsWith(LONG_QUOTE)) {
      section.keys.set(key, value);
      continue;
    }
    // Python's long quotes: up to the next three, over lines.
    const parts = [value.slice(LONG_QUOTE.length)];
    while (!parts.at(-1)!.includes(LONG_QUOTE)) {
      if (++i === lines.length) throw new ConfigError(number, `${key}: """ without an end`);
      parts.push(lines[i]!);
    }
    section.keys.set(key, parts.join("\n").split(LONG_QUOTE)[0]!.trim());
  }
  return sections.map(({ name, line, keys }) => entryOf(name, line, keys));
}

function entryOf(name: string, line: number, keys: ReadonlyMap<string, string>): TestEntry {
  const file = keys.get("file");
  if (file === undefined || file === "") throw new ConfigError(line, `[${shown(name)}] names no file`);
  return {
    name,
    file,
    line,
    smp: keys.get("smp") ?? "1",
    // One key under its three names, the newest last.
    qemuParams: keys.get("qemu_params") ?? keys.get("extra_params") ?? "",
    testArgs: keys.get("test_args"),
    arch: keys.get("arch"),
    groups: (keys.get("groups") ?? "").split(/\s+/).filter(Boolean),
    timeout: keys.get("timeout"),
    check: keys.get("check"),
    accel: keys.get("accel"),
  };
}

function shown(text: string): string {
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}...` : text;
}
