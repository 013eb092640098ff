/** `--console WHERE` and `--port NAME=WHERE`. */
import { type ConsoleSpec, isMachineName } from "../machine/spec.js";
import { MOST_PORTS } from "../virtio/devices/console/console.js";
import { CliError } from "./errors.js";
import { type Sink, sink } from "./sink-option.js";

export interface PortPlan {
  readonly name: string;
  readonly sink: Sink;
}

/** Throws CliError. */
export function portPlans(texts: readonly string[]): PortPlan[] {
  if (texts.length > MOST_PORTS)
    throw new CliError(`--port: ${texts.length} ports, and there is room for ${MOST_PORTS}`);
  const names = new Set<string>();
  return texts.map((text) => {
    const [, name, where] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
    if (name === undefined) throw new CliError(`--port ${text}: NAME=WHERE`);
    // It becomes a file name in the guest.
    if (!isMachineName(name))
      throw new CliError(
        `--port ${text}: a name is 1 to 63 letters, digits, '.', '_' or '-', and begins with a letter or digit`,
      );
    if (names.has(name)) throw new CliError(`--port ${text}: there is a port of that name`);
    names.add(name);
    return { name, sink: sink(`--port ${text}`, where!, ["socket", "file", "pty"]) };
  });
}

/** The terminal and the ports as devices. Throws CliError. */
export function consoleSpecs(hasTerminal: boolean, ports: readonly string[]): ConsoleSpec[] {
  const specs = portPlans(ports).map(({ name, sink }) =>
    sink.kind === "socket" ? { name, path: sink.path } : { name },
  );
  return [
    ...(hasTerminal ? [{ kind: "console" as const, ports: [] }] : []),
    ...(specs.length > 0 ? [{ kind: "console" as const, ports: specs }] : []),
  ];
}
