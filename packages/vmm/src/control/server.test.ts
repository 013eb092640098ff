/** The control socket, met by clients that do what they should not. */
import { existsSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import fc from "fast-check";
import { HANG_MS, hasKvm, NEEDS_KVM, type Process, Scratch, VMM } from "tools-testing";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { MAX_REQUEST_BYTES, readLine } from "./protocol.js";

const scratch = new Scratch(VMM);
afterAll(() => scratch.close());
vi.setConfig({ testTimeout: 2 * HANG_MS });

/** Everything the machine says until it closes. */
async function conversation(path: string, send: (socket: Socket) => void): Promise<string> {
  const socket = connect(path);
  let said = "";
  socket.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  socket.on("error", () => {});
  send(socket);
  await new Promise((resolve) => socket.once("close", resolve));
  return said;
}

describe("a line", () => {
  let server: Server;
  const path = scratch.path("line.sock");
  let accepted: (socket: Socket) => void = () => {};

  beforeAll(() => {
    server = createServer((socket) => accepted(socket));
    return new Promise<void>((resolve) => void server.listen(path, resolve));
  });
  afterAll(() => void server.close());

  /** What readLine makes of `pieces`, and what it leaves for the next listener. */
  async function received(pieces: readonly Uint8Array[], limitBytes: number) {
    const client = connect(path);
    client.on("error", () => {});
    const socket = await new Promise<Socket>((resolve) => {
      accepted = resolve;
    });
    socket.on("error", () => {});
    for (const piece of pieces) client.write(piece);
    client.end();
    try {
      const line = await readLine(socket, limitBytes);
      if (line === undefined) return { line };
      const rest: Buffer[] = [];
      for await (const chunk of socket) rest.push(chunk as Buffer);
      return { line, rest: Buffer.concat(rest) };
    } catch (error) {
      return { error };
    } finally {
      client.destroy();
      socket.destroy();
    }
  }

  it("is cut at its newline whatever bytes come in whatever pieces, and never throws but RangeError", async () => {
    const limitBytes = 64;
    const bytes = fc.uint8Array({ maxLength: 100 });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(bytes, fc.constant(Uint8Array.of(10))), { maxLength: 5 }), async (pieces) => {
        const all = Buffer.concat(pieces);
        const end = all.indexOf(10);
        const { line, rest, error } = await received(pieces, limitBytes);
        if (error !== undefined) {
          expect(error).toBeInstanceOf(RangeError);
          expect(end === -1 ? all.length : end).toBeGreaterThan(limitBytes);
        } else if (end === -1) {
          expect(line).toBeUndefined();
        } else {
          expect(line).toBe(all.subarray(0, end).toString("utf8"));
          expect(rest).toEqual(all.subarray(end + 1));
        }
      }),
      { numRuns: 150 },
    );
  });
});

describe.skipIf(!hasKvm)(`a machine's socket${NEEDS_KVM}`, () => {
  let machine: Process;
  const path = `${scratch.sockets}/host.sock`;
  beforeAll(async () => {
    machine = await scratch.machine("host");
  });

  const isWell = async (): Promise<void> => {
    expect(await scratch.ask("host", "status")).toMatchObject({ phase: "running" });
    expect(machine.stderr).toBe("");
  };

  it("answers garbage with one line that says what is wanted", async () => {
    for (const garbage of ["hello", "{", "[]", "null", '{"action":7}', '{"action":"explode"}', "\u0000\u0001"]) {
      const said = await conversation(path, (socket) => socket.end(`${garbage}\n`));
      expect(JSON.parse(said)).toMatchObject({ ok: false });
      expect(said.match(/\n/g)).toHaveLength(1);
    }
    await isWell();
  });

  it("cuts off a line that does not end", async () => {
    const said = await conversation(path, (socket) => void socket.write("x".repeat(4 * MAX_REQUEST_BYTES)));
    expect(said).toBe("");
    await isWell();
  });

  it("answers several requests on one connection, in order, also when they come in pieces", async () => {
    const said = await conversation(path, (socket) => {
      const text = ["status", "nothing", "exits"].map((action) => `${JSON.stringify({ action })}\n`).join("");
      for (const letter of text) socket.write(letter);
      socket.end();
    });
    const replies = said.trimEnd().split("\n");
    expect(replies.map((reply) => (JSON.parse(reply) as { ok: boolean }).ok)).toEqual([true, false, true]);
  });

  it("goes on when clients vanish: with half a line, before an answer, in the middle of the console", async () => {
    const vanish = (text: string) =>
      new Promise<void>((resolve) => {
        const socket = connect(path, () => {
          socket.write(text);
          socket.destroy();
          resolve();
        });
      });
    for (let i = 0; i < 20; i++) {
      await vanish('{"action":"sta');
      await vanish('{"action":"registers"}\n{"action":"registers"}\n');
      await vanish('{"action":"attach"}\necho hi\r');
    }
    await isWell();
  });

  it("serves a hundred clients at once", async () => {
    const asked = await Promise.all(Array.from({ length: 100 }, () => scratch.ask("host", "registers")));
    for (const registers of asked) expect(registers).toMatchObject([{ mode: "long" }]);
    await isWell();
  });

  it("does what its actions say: pause, registers, resume, reset", async () => {
    expect(await scratch.ask("host", "pause")).toMatchObject({ phase: "paused" });
    await expect(scratch.ask("host", "pause")).rejects.toThrow("cannot pause a machine that is paused");
    const [a, b] = [await scratch.ask("host", "registers"), await scratch.ask("host", "registers")];
    expect(a).toEqual(b);
    expect(await scratch.ask("host", "resume")).toMatchObject({ phase: "running" });
    const seen = machine.stdout.length;
    expect(await scratch.ask("host", "reset")).toMatchObject({ phase: "running" });
    await machine.until("kvm> ", seen);
  });

  it("does not keep an ended machine alive: clients that ask nothing, or read nothing, are let go", async () => {
    const idle = connect(path);
    const deaf = connect(path);
    deaf.write('{"action":"attach"}\n');
    deaf.pause();
    const closed = new Promise((resolve) => idle.on("close", resolve).resume());
    for (const socket of [idle, deaf]) socket.on("error", () => {});
    await new Promise((resolve) => idle.once("connect", resolve));
    machine.type("help\rpoweroff 8\r");
    expect((await machine.ended).status).toBe(17);
    await closed;
    deaf.destroy();
    expect(existsSync(path)).toBe(false);
  });
});
