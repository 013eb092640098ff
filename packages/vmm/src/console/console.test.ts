import { PassThrough } from "node:stream";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EscapeReader } from "./escape.js";
import { ConsoleHub } from "./hub.js";
import { Monitor } from "./monitor.js";

describe("the Ctrl-A prefix", () => {
  function typed(...pieces: string[]) {
    const passed: number[] = [];
    const commands: string[] = [];
    const reader = new EscapeReader({
      onBytes: (bytes) => void passed.push(...bytes),
      onCommand: (command) => void commands.push(command),
    });
    for (const piece of pieces) reader.push(Buffer.from(piece, "latin1"));
    return { passed: Buffer.from(passed).toString("latin1"), commands };
  }

  it("passes everything else to the guest, Ctrl-C included", () => {
    expect(typed("ls\r\x03\x04")).toEqual({ passed: "ls\r\x03\x04", commands: [] });
  });

  it("knows its commands even when prefix and letter come apart", () => {
    expect(typed("a\x01", "xb")).toEqual({ passed: "ab", commands: ["quit"] });
    expect(typed("\x01c\x01h").commands).toEqual(["monitor", "help"]);
  });

  it("sends one Ctrl-A for two, and swallows an unknown letter", () => {
    expect(typed("\x01\x01")).toEqual({ passed: "\x01", commands: [] });
    expect(typed("\x01qz")).toEqual({ passed: "z", commands: [] });
  });

  it("does not depend on how the bytes are cut into pieces", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("a", "\x01", "x", "c")), fc.nat(20), (keys, cut) => {
        const whole = keys.join("");
        expect(typed(whole.slice(0, cut), whole.slice(cut))).toEqual(typed(whole));
      }),
    );
  });
});

describe("the monitor line", () => {
  function bench() {
    const state = { screen: "", lines: [] as string[], closed: 0 };
    const monitor = new Monitor({
      write(text) {
        state.screen += text;
      },
      run: async (line) => {
        state.lines.push(line);
        return `ran ${line}`;
      },
      onClose: () => void state.closed++,
    });
    monitor.open();
    const type = async (text: string) => {
      monitor.push(Buffer.from(text, "latin1"));
      await new Promise((resolve) => setImmediate(resolve));
    };
    return { state, monitor, type };
  }

  it("runs a line and asks for the next", async () => {
    const { state, type } = bench();
    await type("regs\r");
    expect(state.lines).toEqual(["regs"]);
    expect(state.screen).toMatch(/\(vmm\) regs\r\nran regs\r\n\(vmm\) $/);
  });

  it("edits with backspace and Ctrl-U", async () => {
    const { state, type } = bench();
    await type("xx\x15pausf\x7fe\r");
    expect(state.lines).toEqual(["pause"]);
  });

  it.each([
    ["an empty line", "\r"],
    ["Ctrl-C", "\x03"],
    ["Ctrl-D", "\x04"],
    ["Escape", "\x1b"],
  ])("goes back to the guest on %s", async (_name, key) => {
    const { state, monitor, type } = bench();
    await type(key);
    expect(monitor.isOpen).toBe(false);
    expect(state.closed).toBe(1);
  });
});

describe("the console hub", () => {
  const viewer = () => {
    const stream = new PassThrough();
    const seen: Buffer[] = [];
    return { stream, seen, text: () => Buffer.concat(seen).toString() };
  };

  it("shows every viewer everything, and a late one what was before", () => {
    const hub = new ConsoleHub({ onInput: () => {}, onDrain: () => {} });
    hub.write(Buffer.from("early "));
    const late = viewer();
    hub.attach(late.stream);
    hub.write(Buffer.from("late"));
    expect(late.stream.read().toString() + (late.stream.read() ?? "")).toContain("early ");
    expect(hub.viewers).toBe(1);
  });

  it("says when its primary output wants no more, and when it does again", async () => {
    const primary = new PassThrough({ highWaterMark: 4 });
    let drained = 0;
    const hub = new ConsoleHub({ primary, onInput: () => {}, onDrain: () => void drained++ });
    expect(hub.write(Buffer.from("more than four"))).toBe(false);
    primary.resume();
    await new Promise((resolve) => setImmediate(resolve));
    expect(drained).toBe(1);
  });

  it("forgets a viewer that leaves", async () => {
    const hub = new ConsoleHub({ onInput: () => {}, onDrain: () => {} });
    const { stream } = viewer();
    hub.attach(stream);
    stream.destroy();
    await new Promise((resolve) => stream.once("close", resolve));
    expect(hub.viewers).toBe(0);
  });
});
