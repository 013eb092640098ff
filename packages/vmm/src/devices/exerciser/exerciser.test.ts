import { EXERCISER_ID, EXERCISER_REGISTER } from "@tools-kvm/firmware";
import { expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import { EXERCISER_SIZE_BYTES, exerciser } from "./exerciser.js";

it("is known by its ID, which spells a word in memory", () => {
  const bench = new Bench(exerciser);
  expect(bench.read(EXERCISER_REGISTER.ID, 4)).toBe(EXERCISER_ID);
  expect(String.fromCharCode(...[0, 1, 2, 3].map((i) => bench.read(EXERCISER_REGISTER.ID + i)))).toBe("EXER");
});

it("keeps what is written to the scratch register, by accesses of any width", () => {
  const bench = new Bench(exerciser);
  bench.write(EXERCISER_REGISTER.SCRATCH, 0x1122_3344, 4);
  bench.write(EXERCISER_REGISTER.SCRATCH + 1, 0xaa);
  bench.write(EXERCISER_REGISTER.SCRATCH + 2, 0xbbcc, 2);
  expect(bench.read(EXERCISER_REGISTER.SCRATCH, 4)).toBe(0xbbcc_aa44);
});

it("counts the writes that reached its zone and its doorbell", () => {
  const bench = new Bench(exerciser);
  for (let i = 0; i < 3; i++) bench.write(EXERCISER_REGISTER.COALESCED + 4 * i, i, 4);
  for (let i = 0; i < 2; i++) bench.write(EXERCISER_REGISTER.IOEVENTFD, i, 4);
  expect(bench.read(EXERCISER_REGISTER.COALESCED_COUNT, 4)).toBe(3);
  expect(bench.read(EXERCISER_REGISTER.IOEVENTFD_COUNT, 4)).toBe(2);
});

it("reads as zero where there is nothing, and does not take writes to what is read only", () => {
  const bench = new Bench(exerciser);
  bench.write(EXERCISER_REGISTER.ID, 0, 4);
  bench.write(EXERCISER_REGISTER.COALESCED_COUNT, 99, 4);
  expect(bench.read(EXERCISER_REGISTER.ID, 4)).toBe(EXERCISER_ID);
  expect(bench.read(EXERCISER_REGISTER.COALESCED_COUNT, 4)).toBe(0);
  expect(bench.read(0xffc, 4)).toBe(0);
});

it("survives whatever a guest does", () => exercise(exerciser, EXERCISER_SIZE_BYTES));
