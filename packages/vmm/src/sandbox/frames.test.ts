import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeFrame, FrameReader, type GuestLetter, INPUT_WINDOW_BYTES, MOST_PAYLOAD_BYTES } from "./frames.js";
import { SandboxLine } from "./line.js";

function read(pieces: readonly Uint8Array[]) {
  const frames: [string, string][] = [];
  let said = "";
  const reader = new FrameReader({
    onFrame: (letter, payload) => void frames.push([letter, Buffer.from(payload).toString("latin1")]),
    onConsole: (bytes) => {
      said += Buffer.from(bytes).toString("latin1");
    },
  });
  for (const piece of pieces) reader.push(piece);
  return { frames, said };
}

const latin1 = (text: string): Uint8Array => Buffer.from(text, "latin1");

describe("the frames of a sandbox", () => {
  it("are told from what the kernel says between them", () => {
    const stream = [
      latin1("[1.2] panic\n"),
      encodeFrame("O", latin1("hi\x01")),
      latin1("end"),
      encodeFrame("X", latin1("\x07")),
    ];
    expect(read([Buffer.concat(stream)])).toEqual({
      frames: [
        ["O", "hi\x01"],
        ["X", "\x07"],
      ],
      said: "[1.2] panic\nend",
    });
  });

  it("are the same wherever the stream is cut", () => {
    const frame = fc.tuple(fc.constantFrom("O", "E", "C"), fc.uint8Array({ maxLength: 40 }));
    fc.assert(
      fc.property(fc.array(frame), fc.array(fc.nat(200)), (frames, cuts) => {
        const stream = Buffer.concat(frames.map(([letter, payload]) => encodeFrame(letter, payload)));
        const places = [0, ...cuts.map((cut) => cut % (stream.length + 1)).sort((a, b) => a - b), stream.length];
        const pieces = places.slice(1).map((end, index) => stream.subarray(places[index], end));
        expect(read(pieces)).toEqual(read([stream]));
        expect(read([stream]).frames).toHaveLength(frames.length);
      }),
    );
  });

  it("are bounded, whatever a guest sends: no byte is kept that is no frame's", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const { frames, said } = read([bytes]);
        const framed = frames.reduce((sum, [, payload]) => sum + payload.length + 4, 0);
        const kept = bytes.length - framed - said.length;
        expect(kept).toBeGreaterThanOrEqual(0);
        expect(kept).toBeLessThan(4 + MOST_PAYLOAD_BYTES);
        if (kept > 0) expect(bytes.at(bytes.length - kept)).toBe(1);
      }),
    );
  });
});

describe("the line to a sandbox", () => {
  function bench() {
    const sent: [string, string][] = [];
    const heard: string[] = [];
    const line: SandboxLine = new SandboxLine({
      send(bytes) {
        sent.push([String.fromCharCode(bytes[1]!), Buffer.from(bytes.subarray(4)).toString("latin1")]);
      },
      onOutput: (bytes) => void heard.push(`out ${Buffer.from(bytes)}`),
      onErrors: (bytes) => void heard.push(`err ${Buffer.from(bytes)}`),
      onStatus: (status) => void heard.push(`status ${status}`),
      onFailure: (message) => void heard.push(`failure ${message}`),
      onRoom: () => {},
    });
    const say = (letter: GuestLetter, text = ""): void => line.push(encodeFrame(letter, latin1(text)));
    return { line, sent, heard, say };
  }

  it("keeps what was typed until the command runs, then its end", () => {
    const { line, sent, say } = bench();
    line.input(latin1("early"));
    line.endInput();
    line.resize(80, 24);
    expect(sent).toEqual([]);
    say("R");
    expect(sent).toEqual([
      ["W", "\x50\0\x18\0"],
      ["I", "early"],
      ["Z", ""],
    ]);
    line.endInput();
    expect(sent).toHaveLength(3);
  });

  it("sends no more than the guest has room for, whatever credit it claims", () => {
    const { line, sent, say } = bench();
    say("R");
    line.input(new Uint8Array(3 * INPUT_WINDOW_BYTES));
    const bytes = (): number => sent.reduce((sum, [, payload]) => sum + payload.length, 0);
    expect(bytes()).toBe(INPUT_WINDOW_BYTES);
    say("C", "\x64\0");
    expect(bytes()).toBe(INPUT_WINDOW_BYTES + 100);
    say("C", "\xff\xff");
    expect(bytes()).toBe(2 * INPUT_WINDOW_BYTES + 100);
  });

  it("hands on output, errors, status and failure; a failure as one line without control characters", () => {
    const { heard, say } = bench();
    say("O", "a");
    say("E", "b");
    say("X", "\x07");
    say("F", "no\x1b[2J\nmodule");
    expect(heard).toEqual(["out a", "err b", "status 7", "failure no [2J module"]);
  });

  it("stands whatever a guest sends", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 })), (pieces) => {
        const { line } = bench();
        for (const piece of pieces) line.push(piece);
        line.input(latin1("x"));
      }),
    );
  });
});
