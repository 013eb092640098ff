/** Frames behind their length on a socket, in whatever pieces they come. */
import { UnixSocket } from "@tools-kvm/kvm-binding";
import fc from "fast-check";
import { expect, it } from "vitest";
import { MOST_FRAME_BYTES } from "./frame-link.js";
import { StreamLink } from "./stream-link.js";

const packet = (frame: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(4 + frame.length);
  new DataView(bytes.buffer).setUint32(0, frame.length, false);
  bytes.set(frame, 4);
  return bytes;
};

function pair() {
  const [near, far] = UnixSocket.pair();
  const link = new StreamLink(near);
  const into = new Uint8Array(MOST_FRAME_BYTES);
  const read = () => {
    const length = link.read(into);
    return length > 0 ? into.slice(0, length) : length;
  };
  const close = (): void => {
    link.close();
    far.close();
  };
  return { link, far, read, [Symbol.dispose]: close };
}

it("come whole, whatever pieces their bytes come in", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 3000 }), { maxLength: 8 }),
      fc.integer({ min: 1, max: 2000 }),
      (frames, piece) => {
        using both = pair();
        const bytes = Buffer.concat(frames.map(packet));
        const got: Uint8Array[] = [];
        for (let at = 0; at < bytes.length; at += piece) {
          both.far.send(bytes.subarray(at, at + piece));
          for (let frame = both.read(); typeof frame !== "number"; frame = both.read()) got.push(frame);
        }
        expect(got.map((frame) => Buffer.from(frame))).toEqual(frames.map((frame) => Buffer.from(frame)));
        expect(both.read()).toBe(0);
      },
    ),
    { numRuns: 60 },
  );
});

it.each([
  ["of no bytes", 0],
  ["longer than any", MOST_FRAME_BYTES + 1],
  ["of four gigabytes", 0xffff_ffff],
])("a frame %s ends the link", (_what, length) => {
  using both = pair();
  const bytes = new Uint8Array(64);
  new DataView(bytes.buffer).setUint32(0, length, false);
  both.far.send(bytes);
  expect([both.read(), both.read()]).toEqual([-1, -1]);
});

it("whatever comes is a frame, or nothing, or the end", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 }), (pieces) => {
      using both = pair();
      for (const bytes of pieces) {
        if (bytes.length > 0) both.far.send(bytes);
        both.read();
      }
    }),
  );
});

it("the end of the socket is the end of the link, and sending to it is nothing", () => {
  using both = pair();
  both.far.close();
  both.link.write(new Uint8Array(60));
  expect(both.read()).toBe(-1);
});

it("frames go out behind their length, whole", () => {
  using both = pair();
  const frame = Uint8Array.from({ length: 1500 }, (_, i) => i & 0xff);
  both.link.write(frame);
  const into = new Uint8Array(4096);
  expect(both.far.receive(into)).toBe(1504);
  expect(into.subarray(0, 1504)).toEqual(packet(frame));
});
