/** The machine's virtio devices as its command line has them. The code behind each is loaded only when there is one. */
import type { VirtioSpec } from "../machine/spec.js";
import { MAXIMUM_VIRTIO_DEVICES } from "../machine/virtio.js";
import { CliError } from "./errors.js";
import type { RunOptions } from "./run-options.js";

export interface VirtioPlan {
  readonly specs: readonly VirtioSpec[];
  /** Ends what was started for the devices. */
  close(): void;
}

/** `onLog` takes one line, while the machine runs. Throws CliError, and then nothing is left running. */
export async function planVirtio(
  {
    name,
    disk,
    net,
    share,
    rng,
    balloon,
    vsock,
    console,
    port,
  }: Pick<RunOptions, "name" | "disk" | "net" | "share" | "rng" | "balloon" | "vsock" | "console" | "port">,
  onLog: (message: string) => void,
): Promise<VirtioPlan> {
  const hasTerminal = console !== undefined;
  const single = [rng, balloon, vsock, hasTerminal, port.length > 0].filter(Boolean).length;
  const count = disk.length + net.length + share.length + single;
  if (count > MAXIMUM_VIRTIO_DEVICES) {
    throw new CliError(
      `--disk, --net, --share: ${count} devices, and a machine has room for ${MAXIMUM_VIRTIO_DEVICES}`,
    );
  }
  const disks = disk.length === 0 ? [] : (await import("./disk-option.js")).diskSpecs(disk);
  const shares = share.length === 0 ? [] : (await import("./share-option.js")).shareSpecs(share);
  const balloons = balloon === undefined ? [] : [(await import("./balloon-option.js")).balloonSpec(balloon)];
  const vsocks = vsock === undefined ? [] : [(await import("./vsock-option.js")).vsockSpec(vsock)];
  const consoles =
    hasTerminal || port.length > 0 ? (await import("./port-option.js")).consoleSpecs(hasTerminal, port) : [];
  const nets = net.length === 0 ? undefined : await (await import("./net-option.js")).planNets(net, name ?? "", onLog);
  return {
    specs: [
      ...disks,
      ...shares,
      ...(nets?.specs ?? []),
      ...(rng ? [{ kind: "entropy" as const }] : []),
      ...balloons,
      ...vsocks,
      ...consoles,
    ],
    close: () => nets?.close(),
  };
}
