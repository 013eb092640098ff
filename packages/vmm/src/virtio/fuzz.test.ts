/**
 * Every device against a hostile driver (fuzzing.ts). Whatever it does, the device ends its work, touches nothing outside of
 * RAM and of what is behind it, and works again after a reset.
 *
 *   npm run fuzz                      ten million chains a device over either transport
 *   FUZZ_CHAINS=N FUZZ_SEED=S         so many, from that seed
 *   FUZZ_DEVICE=disk                  to one device
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UnixSocket } from "@tools-kvm/kvm-binding";
import { afterAll, describe, expect, it } from "vitest";
import { T } from "../share/messages.js";
import { NinePServer } from "../share/server.js";
import { balloonDevice } from "./devices/balloon/balloon.js";
import { BalloonBackend } from "./devices/balloon/balloon-backend.js";
import { blockDevice } from "./devices/block/block.js";
import { BlockBackend } from "./devices/block/block-backend.js";
import { CONSOLE_QUEUE, consoleDevice, portQueues } from "./devices/console/console.js";
import { ConsoleBackend } from "./devices/console/console-backend.js";
import { entropyDevice } from "./devices/entropy/entropy.js";
import { EntropyBackend } from "./devices/entropy/entropy-backend.js";
import { netDevice } from "./devices/net/net.js";
import { NetBackend } from "./devices/net/net-backend.js";
import { shareDevice } from "./devices/share/share.js";
import { ShareBackend } from "./devices/share/share-backend.js";
import { VSOCK_QUEUE, vsockDevice } from "./devices/vsock/vsock.js";
import { VsockBackend } from "./devices/vsock/vsock-backend.js";
import { fuzz, type Target } from "./fuzzing.js";
import { MemoryDisk } from "./testing.js";
import { TRANSPORTS } from "./testing-registers.js";

const CHAINS = Number(process.env.FUZZ_CHAINS ?? 50_000);
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);
const ONLY = process.env.FUZZ_DEVICE;
const PROGRESS_MS = 10_000;

const folder = mkdtempSync(join(tmpdir(), "virtio-fuzz-"));
afterAll(() => rmSync(folder, { recursive: true }));

function disk(): Target {
  const disk = new MemoryDisk(64 * 512);
  const onFailure = (_code: string, message: string): never => {
    throw new Error(`the disk was asked for what it has not: ${message}`);
  };
  return {
    device: blockDevice({ name: "virtio-blk0", sizeBytes: disk.sizeBytes, readonly: false, queues: 2 }),
    backend: new BlockBackend({ disk, serial: "fuzz", onFailure }),
    queues: [0, 1],
  };
}

/** On a link that has frames of all lengths for ever, and takes all. */
function network(): Target {
  let length = 0;
  const link = {
    fd: -1,
    hasHeader: false,
    read(into: Uint8Array): number {
      length = (length * 7 + 61) % into.length;
      return 14 + (length % 1500);
    },
    write() {},
    close() {},
  };
  return {
    device: netDevice({ name: "virtio-net0", mac: [2, 0, 0, 0, 0, 1], mtu: 1500, offloads: false }),
    backend: new NetBackend(link, () => {}),
    queues: [0, 1],
  };
}

/** The numbers in block requests are taken for page numbers. */
function balloon(): Target {
  const memory = { discard: (gpa: number, length: number) => gpa + length <= 0x1000_0000, discardView() {} };
  return {
    device: balloonDevice({ name: "virtio-balloon0", sizeBytes: 0 }),
    backend: new BalloonBackend({ memory, ask: { fd: -1, take: () => 1 }, onStats() {} }),
    queues: [0, 1, 2, 3, 4],
  };
}

/** A guest whose address is what the mutated packets have at that place. */
function socket(): Target {
  return {
    device: vsockDevice({ name: "virtio-vsock0", cid: 3 }),
    backend: new VsockBackend({ cid: 0, path: join(folder, "sock") }),
    queues: [VSOCK_QUEUE.TX],
  };
}

function entropy(): Target {
  return { device: entropyDevice("virtio-rng0"), backend: new EntropyBackend(), queues: [0] };
}

function share(): Target {
  writeFileSync(join(folder, "file"), "contents");
  const types = Object.values(T).map(({ type }) => type);
  return {
    device: shareDevice({ name: "virtio-9p0", tag: "fuzz" }),
    backend: new ShareBackend(new NinePServer({ root: folder, readonly: true })),
    queues: [0],
    request(header, random) {
      header.setUint32(0, random(4) === 0 ? 16 : 16 + 512 * random(4), true);
      header.setUint8(4, types[random(types.length)]!);
      header.setUint16(5, random(4), true);
      header.setUint32(7, random(3), true);
    },
  };
}

/** To a program of the host's that takes all, and has always something to say. */
function console(options: "terminal" | "ports"): Target {
  const [host, socket] = UnixSocket.pair();
  const isTerminal = options === "terminal";
  const backend = new ConsoleBackend(
    isTerminal ? { terminal: { socket } } : { ports: [{ name: "fuzz", source: { socket } }] },
  );
  const into = new Uint8Array(2 ** 20);
  const attendant = {
    fd: backend.attendant.fd,
    isBehind: false,
    attend: (...from: Parameters<typeof backend.attendant.attend>) => {
      while (host.receive(into) > 0);
      host.send(into.subarray(0, 100));
      backend.attendant.attend(...from);
    },
  };
  const close = (): void => {
    backend.close();
    host.close();
  };
  return {
    device: consoleDevice({ name: "virtio-console0", ports: isTerminal ? [] : ["fuzz"] }),
    backend: { handle: () => 0, attendant, close },
    queues: isTerminal ? [CONSOLE_QUEUE.RX, CONSOLE_QUEUE.TX] : [CONSOLE_QUEUE.CONTROL_TX, portQueues(1).tx],
  };
}

const TARGETS = {
  disk,
  network,
  balloon,
  socket,
  entropy,
  share,
  terminal: () => console("terminal"),
  ports: () => console("ports"),
};

describe.each(TRANSPORTS)(`${CHAINS} mutated chains over %s (FUZZ_SEED=${SEED})`, (transport) => {
  it.each(Object.entries(TARGETS).filter(([kind]) => ONLY === undefined || kind === ONLY))(
    "harm nothing around the %s device",
    (kind, make) => {
      const target = make();
      const progress = progressOf(`${kind} over ${transport}`);
      try {
        const { faults, completed } = fuzz(target, { transport, chains: CHAINS, seed: SEED, onProgress: progress });
        // Both ends were reached: faults were noticed, and requests were still served.
        expect(faults).toBeGreaterThan(CHAINS / 100);
        expect(completed).toBeGreaterThan(CHAINS / 20);
      } finally {
        target.backend.close();
      }
    },
    24 * 3_600_000,
  );
});

/** Says every few seconds how far it is. */
function progressOf(what: string): (chains: number) => void {
  const startMs = performance.now();
  let saidMs = startMs;
  return (chains) => {
    const nowMs = performance.now();
    if (nowMs - saidMs < PROGRESS_MS) return;
    saidMs = nowMs;
    const perSecond = (1000 * chains) / (nowMs - startMs);
    const leftSeconds = Math.ceil((CHAINS - chains) / perSecond);
    const millions = (count: number): string => (count / 1e6).toFixed(1);
    const share = `${millions(chains)} of ${millions(CHAINS)} million chains`;
    process.stderr.write(`${what}: ${share}, ${Math.round(perSecond)} a second, ${leftSeconds} s left\n`);
  };
}
