/** Ports whose host's end is a file or a pty. */
import type { GuestStream } from "../machine/guest-stream.js";
import type { PortPlan } from "./port-option.js";
import { type OpenSink, openSink } from "./sinks.js";

/** Opens them and connects them to the machine's. Throws CliError. */
export function openPorts(plans: readonly PortPlan[], machine: { readonly ports: ReadonlyMap<string, GuestStream> }) {
  const sinks = plans.flatMap(({ name, sink }) => {
    const stream = machine.ports.get(name);
    return stream === undefined ? [] : [connect(stream, openSink(`--port ${name}=`, sink, `port ${name}`))];
  });
  return {
    /** The machine begins. Lines for the user come back. */
    async begin(): Promise<string | undefined> {
      for (const sink of sinks) await sink.begin?.();
      const lines = sinks.flatMap(({ announcement }) => announcement ?? []);
      return lines.length > 0 ? lines.join(", ") : undefined;
    },
    async close(): Promise<void> {
      await Promise.all(sinks.map((sink) => sink.close()));
    },
  };
}

function connect(stream: GuestStream, sink: OpenSink): OpenSink {
  const { output, input } = sink;
  stream.connect({
    onOutput: (bytes) => output?.write(bytes) ?? true,
    onInputTaken: () => input?.resume(),
  });
  output?.on("drain", () => stream.release());
  input?.on("data", (bytes: Buffer) => {
    if (!stream.receive(bytes)) input.pause();
  });
  return sink;
}
