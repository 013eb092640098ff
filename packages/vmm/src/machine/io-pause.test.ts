/** A pause of virtio devices: nobody is at their queues during it, and nothing is left held behind. */
import { expect, it } from "vitest";
import { holdQueues, releaseQueues, SHARED } from "../virtio/transport.js";
import { IoPause } from "./io-pause.js";

const PATIENT_MS = 20_000;
const devices = () => [1, 2].map(() => new Uint32Array(new SharedArrayBuffer(4 * SHARED.WORDS)));
const held = (all: readonly Uint32Array[]) => all.map((shared) => shared[SHARED.BUSY]);

it("holds every device until it is released, and may be asked for twice", async () => {
  const all = devices();
  const pause = new IoPause(all);
  await pause.hold(PATIENT_MS, () => true);
  await pause.hold(PATIENT_MS, () => true);
  expect(held(all)).toEqual([1, 1]);
  pause.release();
  pause.release();
  expect(held(all)).toEqual([0, 0]);
});

it("waits for a device that is at its queues", async () => {
  const all = devices();
  const pause = new IoPause(all);
  holdQueues(all[0]!);
  const holding = pause.hold(PATIENT_MS, () => true);
  setTimeout(() => releaseQueues(all[0]!), 20);
  await holding;
  expect(held(all)).toEqual([1, 1]);
  pause.release();
  expect(held(all)).toEqual([0, 0]);
});

it("lets everything go when nobody wants it any more, and leaves alone what others hold", async () => {
  const all = devices();
  const pause = new IoPause(all);
  holdQueues(all[0]!);
  let isDue = true;
  const holding = pause.hold(PATIENT_MS, () => isDue);
  isDue = false;
  await holding;
  expect(held(all)).toEqual([1, 0]);
});

it("does without a device that takes too long", async () => {
  const all = devices();
  const pause = new IoPause(all);
  holdQueues(all[0]!);
  await pause.hold(1, () => true);
  pause.release();
  expect(held(all)).toEqual([1, 0]);
});
