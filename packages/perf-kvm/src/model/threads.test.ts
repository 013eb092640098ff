import { PERF_RECORD_COMM, PERF_RECORD_FORK } from "@tools-kvm/kvm-binding/uapi";
import { expect, it } from "vitest";
import { ThreadNames } from "./threads.js";

function record(type: number, words: readonly number[], text = ""): DataView {
  const view = new DataView(new ArrayBuffer(8 + 4 * words.length + text.length));
  view.setUint32(0, type, true);
  view.setUint16(6, view.byteLength, true);
  for (const [index, word] of words.entries()) view.setUint32(8 + 4 * index, word, true);
  new Uint8Array(view.buffer).set(Buffer.from(text, "latin1"), 8 + 4 * words.length);
  return view;
}

it("names threads as perf does: by what they said last, by their parent, or by their number", () => {
  const names = new ThreadNames();
  names.note(record(PERF_RECORD_COMM, [10, 11], "CPU 0/KVM\0\0\0"), 0);
  names.note(record(PERF_RECORD_FORK, [20, 10, 21, 11, 0, 0]), 0);
  expect([names.of(11), names.of(21), names.of(0), names.of(99)]).toEqual(["CPU 0/KVM", "CPU 0/KVM", "swapper", ":99"]);
  // A task that is just going away has no number any more.
  expect(names.of(0xffff_ffff)).toBe(":-1");
});

it("lets no name steer a terminal, and none be longer than the kernel's", () => {
  const names = new ThreadNames();
  names.note(record(PERF_RECORD_COMM, [1, 1], "\x1b[2Jx\xff"), 0);
  names.note(record(PERF_RECORD_COMM, [2, 2], "a".repeat(100)), 0);
  expect([names.of(1), names.of(2)]).toEqual(["?[2Jx?", "a".repeat(16)]);
});
