/** What is behind a machine's virtio devices, opened in the thread that serves them. */
import { type EventFd, monotonicNs, UnixListener, UnixSocket } from "@tools-kvm/kvm-binding";
import type { DiskImage } from "../block/disk-image.js";
import { openDisk } from "../block/open-disk.js";
import { removeStale } from "../host/socket-file.js";
import { NinePServer } from "../share/server.js";
import type { VirtioBackend } from "../virtio/device.js";
import { BalloonBackend } from "../virtio/devices/balloon/balloon-backend.js";
import type { BalloonStats } from "../virtio/devices/balloon/balloon-stats.js";
import { BlockBackend } from "../virtio/devices/block/block-backend.js";
import { FailureLog } from "../virtio/devices/block/failure-log.js";
import { ConsoleBackend } from "../virtio/devices/console/console-backend.js";
import type { HostSource } from "../virtio/devices/console/host-end.js";
import { EntropyBackend } from "../virtio/devices/entropy/entropy-backend.js";
import type { FrameLink } from "../virtio/devices/net/frame-link.js";
import { NetBackend } from "../virtio/devices/net/net-backend.js";
import { StreamLink } from "../virtio/devices/net/stream-link.js";
import { TapLink } from "../virtio/devices/net/tap-link.js";
import { ShareBackend } from "../virtio/devices/share/share-backend.js";
import { VsockBackend } from "../virtio/devices/vsock/vsock-backend.js";
import { RateLimit, type RateLimitSpec } from "../virtio/rate-limit.js";
import type { GuestRam } from "./guest-ram.js";
import type { ConsoleSpec, DiskSpec, NetSpec, VirtioSpec } from "./spec.js";

/** What backends have of their machine. */
export interface BackendSurroundings {
  /** Takes one line. */
  readonly log: (message: string) => void;
  readonly ram: GuestRam;
  /** Of devices that can be asked. */
  readonly ask: EventFd | undefined;
  readonly onStats: (stats: BalloonStats) => void;
  /** Of consoles: tokens of the device's ends of streams whose other ends are with the machine's owner. */
  readonly streams: readonly (number | undefined)[];
}

/** Opens what `spec` names. Throws DiskError, KvmError. */
export function openBackend(spec: VirtioSpec, { log, ram, ask, onStats, streams }: BackendSurroundings): VirtioBackend {
  switch (spec.kind) {
    case "block": {
      const failures = new FailureLog(log, monotonicNs);
      return new BlockBackend({
        disk: openSpecifiedDisk(spec),
        serial: spec.serial,
        onFailure: (code, message) => failures.failed(code, message),
        limit: limitOf(spec.limit),
      });
    }
    case "entropy":
      return new EntropyBackend();
    case "share":
      return new ShareBackend(new NinePServer({ root: spec.path, readonly: spec.readonly }));
    case "balloon":
      return new BalloonBackend({ memory: ram, ask: ask!, onStats });
    case "vsock":
      return new VsockBackend(spec);
    case "console":
      return openConsole(spec, streams);
    case "net":
      return new NetBackend(openLink(spec.link, log), () => log("the link is down"), {
        send: limitOf(spec.limit),
        receive: limitOf(spec.limit),
      });
  }
}

function limitOf(spec: RateLimitSpec | undefined): RateLimit | undefined {
  return spec === undefined ? undefined : new RateLimit(spec, monotonicNs);
}

function openConsole({ ports }: ConsoleSpec, streams: readonly (number | undefined)[]): ConsoleBackend {
  const here = (index: number): HostSource => ({ socket: UnixSocket.attach(streams[index]!) });
  const listening = (path: string): HostSource => {
    removeStale(path);
    return { listener: UnixListener.listen(path), path };
  };
  if (ports.length === 0) return new ConsoleBackend({ terminal: here(0) });
  return new ConsoleBackend({
    ports: ports.map(({ name, path }, index) => ({
      name,
      source: path === undefined ? here(index) : listening(path),
    })),
  });
}

function openLink(link: NetSpec["link"], log: (message: string) => void): FrameLink {
  return link.type === "tap" ? new TapLink(link.name, log) : new StreamLink(UnixSocket.connect(link.path));
}

export function openSpecifiedDisk({ path, format, readonly, cache }: Omit<DiskSpec, "sizeBytes">): DiskImage {
  return openDisk(path, { format, readonly, cache });
}
