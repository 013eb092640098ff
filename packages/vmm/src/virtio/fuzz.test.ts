/**
 * A hostile driver: chains of which one to four numbers have been changed, to each device. Whatever they are, the device
 * ends its work, touches nothing outside of RAM and of its disk, and works again after a reset.
 *
 *   npm run fuzz                      ten million chains a device
 *   FUZZ_CHAINS=N FUZZ_SEED=S         so many, from that seed
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { VirtioBackend, VirtioDevice } from "./device.js";
import { BALLOON_QUEUE, balloonDevice } from "./devices/balloon/balloon.js";
import { BalloonBackend } from "./devices/balloon/balloon-backend.js";
import { blockDevice } from "./devices/block/block.js";
import { BlockBackend } from "./devices/block/block-backend.js";
import { entropyDevice } from "./devices/entropy/entropy.js";
import { EntropyBackend } from "./devices/entropy/entropy-backend.js";
import { netDevice } from "./devices/net/net.js";
import { NetBackend } from "./devices/net/net-backend.js";
import { VSOCK_QUEUE, vsockDevice } from "./devices/vsock/vsock.js";
import { VsockBackend } from "./devices/vsock/vsock-backend.js";
import { FEATURE, STATUS } from "./ids.js";
import {
  MemoryDisk,
  RING_FEATURES,
  TestDevice,
  type TestDriver,
  TestDriverQueue,
  TestMemory,
  TestPackedDriver,
} from "./testing.js";

const CHAINS = Number(process.env.FUZZ_CHAINS ?? 50_000);
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);
const QUEUE_SIZE = 16;
const RAM_BYTES = 0x2_0000;
const RINGS = 0x1000;
const INDIRECT = 0x4000;
const DATA = 0x8000;
const CHECK_EVERY = 4096;
const PROGRESS_EVERY = 1_000_000;

/** xorshift32. */
function generator(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const INTERESTING = [
  0,
  1,
  0x7fff,
  0x8000,
  0xffff,
  0x7fff_ffff,
  0x8000_0000,
  0xffff_fff0,
  0xffff_ffff,
  RAM_BYTES,
  RAM_BYTES - 8,
  RINGS,
];

type Ring = "split" | "packed";

function fuzz(
  plain: VirtioDevice,
  backend: VirtioBackend,
  queueIndex = 0,
  ring: Ring = "split",
): { faults: number; completed: number } {
  const random = generator(SEED);
  const memory = new TestMemory(RAM_BYTES);
  const isPacked = ring === "packed";
  const device = isPacked ? { ...plain, features: [...plain.features, FEATURE.RING_PACKED] } : plain;
  const driver = (): TestDriver =>
    isPacked ? new TestPackedDriver(memory, QUEUE_SIZE, RINGS) : new TestDriverQueue(memory, QUEUE_SIZE, RINGS);
  const test = new TestDevice(device, backend, memory);
  let queue = driver();
  let faults = 0;
  let completed = 0;
  const restart = (): void => {
    memory.bytes.fill(0, RINGS, DATA);
    queue = driver();
    test.start(queue, { index: queueIndex, without: RING_FEATURES.filter(() => random(4) === 0) });
  };
  restart();
  for (let chain = 0; chain < CHAINS; chain++) {
    offer(queue, memory, random);
    for (let changes = random(5); changes > 0; changes--) mutate(memory, random);
    if (backend.input?.queueIndex === queueIndex) test.server.deliver();
    else test.server.serve(queueIndex);
    if ((test.status & STATUS.DEVICE_NEEDS_RESET) !== 0) {
      faults++;
      test.faults.length = 0;
      restart();
    } else {
      completed += queue.collect().length;
    }
    if (chain % CHECK_EVERY === 0) expect(memory.isGuardIntact).toBe(true);
    if (chain > 0 && chain % PROGRESS_EVERY === 0)
      process.stderr.write(`${device.name}: ${chain / 1e6} million chains\n`);
  }
  expect(memory.isGuardIntact).toBe(true);
  return { faults, completed };
}

/** A request as a driver might make it: a block request's header, some data, a status. */
function offer(queue: TestDriver, memory: TestMemory, random: (below: number) => number): void {
  const isRead = random(2) === 0;
  const type = [0, 1, 4, 8, 11, 13][random(6)]!;
  memory.view.setUint32(DATA, type, true);
  memory.view.setBigUint64(DATA + 8, BigInt(random(80)), true);
  const data = Array.from({ length: random(3) }, (_, i) => ({
    gpa: DATA + 0x1000 * (i + 1),
    length: 512 * random(4),
    writable: isRead,
  }));
  const buffers = [{ gpa: DATA, length: 16, writable: false }, ...data, { gpa: DATA + 16, length: 1, writable: true }];
  queue.offer(buffers, random(3) === 0 ? INDIRECT : undefined);
}

/** Changes a number in the descriptors, the rings, an indirect table or a request's header. */
function mutate(memory: TestMemory, random: (below: number) => number): void {
  const [start, length] = [
    [RINGS, 16 * QUEUE_SIZE],
    [RINGS + 16 * QUEUE_SIZE, 6 + 2 * QUEUE_SIZE],
    [INDIRECT, 16 * 8],
    [DATA, 16],
  ][random(4)]! as [number, number];
  const width = [1, 2, 4][random(3)]!;
  const at = start + random(length - width + 1);
  const value = random(2) === 0 ? INTERESTING[random(INTERESTING.length)]! : random(2 ** 32);
  if (width === 1) memory.view.setUint8(at, value & 0xff);
  else if (width === 2) memory.view.setUint16(at, value & 0xffff, true);
  else memory.view.setUint32(at, value >>> 0, true);
}

describe.each<Ring>(["split", "packed"])(`${CHAINS} mutated chains in a %s ring (FUZZ_SEED=${SEED})`, (ring) => {
  it("harm nothing around a block device", () => {
    const disk = new MemoryDisk(64 * 512);
    const backend = new BlockBackend({
      disk,
      serial: "fuzz",
      onFailure: (_code, message) => {
        throw new Error(`the disk was asked for what it has not: ${message}`);
      },
    });
    const { faults, completed } = fuzz(
      blockDevice({ name: "virtio-blk0", sizeBytes: disk.sizeBytes, readonly: false, queues: 1 }),
      backend,
      0,
      ring,
    );
    // Both ends were reached: faults were noticed, and requests were still served.
    expect(faults).toBeGreaterThan(CHAINS / 100);
    expect(completed).toBeGreaterThan(CHAINS / 10);
  }, 3_600_000);

  it.each([0, 1])(
    "harm nothing around a network device, queue %d",
    (queueIndex) => {
      // A link that has frames of all lengths for ever, and takes all.
      let length = 0;
      const backend = new NetBackend(
        {
          fd: -1,
          hasHeader: false,
          read(into) {
            length = (length * 7 + 61) % into.length;
            return 14 + (length % 1500);
          },
          write() {},
          close() {},
        },
        () => {},
      );
      const device = netDevice({
        name: `virtio-net${queueIndex}`,
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        offloads: false,
      });
      const { faults, completed } = fuzz(device, backend, queueIndex, ring);
      expect(faults).toBeGreaterThan(CHAINS / 100);
      expect(completed).toBeGreaterThan(CHAINS / 10);
    },
    3_600_000,
  );

  it.each([0, 1, 2, 3, 4])(
    "harm nothing around a balloon, queue %d",
    (queueIndex) => {
      const backend = new BalloonBackend({
        // The sizes of requests are taken for page numbers.
        memory: { discard: (gpa, length) => gpa + length <= 0x1000_0000, discardView() {} },
        ask: { fd: -1, take: () => 1 },
        onStats() {},
      });
      const device = balloonDevice({ name: "virtio-balloon0", sizeBytes: 0 });
      const { faults, completed } = fuzz(device, backend, queueIndex, ring);
      expect(faults).toBeGreaterThan(CHAINS / 100);
      // Of an inflated array one page that is not RAM is enough for a fault.
      expect(completed).toBeGreaterThan(CHAINS / (queueIndex === BALLOON_QUEUE.INFLATE ? 50 : 10));
    },
    3_600_000,
  );

  it("harm nothing around a socket device", () => {
    const folder = mkdtempSync(join(tmpdir(), "vsock-fuzz-"));
    // A guest whose address is what the mutated packets have at that place.
    const backend = new VsockBackend({ cid: 0, path: join(folder, "sock") });
    try {
      const { faults, completed } = fuzz(vsockDevice({ name: "virtio-vsock0", cid: 3 }), backend, VSOCK_QUEUE.TX, ring);
      expect(faults).toBeGreaterThan(CHAINS / 100);
      expect(completed).toBeGreaterThan(CHAINS / 50);
      expect(backend.connections).toBe(0);
    } finally {
      backend.close();
      rmSync(folder, { recursive: true });
    }
  }, 3_600_000);

  it("harm nothing around an entropy device", () => {
    const { faults, completed } = fuzz(entropyDevice("virtio-rng0"), new EntropyBackend(), 0, ring);
    expect(faults).toBeGreaterThan(CHAINS / 100);
    expect(completed).toBeGreaterThan(CHAINS / 10);
  }, 3_600_000);
});
