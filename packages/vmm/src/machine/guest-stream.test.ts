/** The machine's owner's end of a stream, on a real pair of sockets. */
import { EAGAIN, UnixSocket } from "@tools-kvm/kvm-binding";
import { afterEach, describe, expect, it, vi } from "vitest";
import { GuestStream } from "./guest-stream.js";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0).reverse()) close();
});

function setUp() {
  const [here, guest] = UnixSocket.pair();
  const stream = new GuestStream(here);
  closers.push(
    () => guest.close(),
    () => here.close(),
    () => stream.close(),
  );
  const heard: Uint8Array[] = [];
  const user = { hasRoom: true, taken: 0 };
  const connect = (): void =>
    stream.connect({
      onOutput: (bytes) => {
        heard.push(bytes);
        return user.hasRoom;
      },
      onInputTaken: () => user.taken++,
    });
  const text = (): string => Buffer.concat(heard).toString();
  return { guest, stream, user, connect, text };
}

/** Sends as much as fits: how many bytes. */
function fill(socket: UnixSocket): number {
  let sent = 0;
  for (let length = 0; length !== -EAGAIN; length = socket.send(Buffer.alloc(4096, "x"))) sent += length;
  return sent;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("what the guest says", () => {
  it("waits until somebody listens", async () => {
    const { guest, connect, text } = setUp();
    guest.send(Buffer.from("early"));
    await turn();
    connect();
    guest.send(Buffer.from(" and late"));
    await vi.waitFor(() => expect(text()).toBe("early and late"));
  });

  it("waits while there is no room for it, and then fills the socket, so that the guest waits", async () => {
    const { guest, stream, user, connect, text } = setUp();
    user.hasRoom = false;
    connect();
    guest.send(Buffer.from("one"));
    await vi.waitFor(() => expect(text()).toBe("one"));
    const sent = fill(guest);
    await turn();
    expect(text()).toBe("one");
    expect(guest.send(Buffer.from("no room"))).toBe(-EAGAIN);
    user.hasRoom = true;
    stream.release();
    await vi.waitFor(() => expect(text()).toHaveLength(3 + sent));
  });

  it("comes to its end whether there is room or not, and nothing comes after it", async () => {
    const { guest, stream, user, connect, text } = setUp();
    user.hasRoom = false;
    connect();
    guest.send(Buffer.from("held"));
    await vi.waitFor(() => expect(text()).toBe("held"));
    const first = fill(guest);
    stream.flow();
    await vi.waitFor(() => expect(text()).toHaveLength(4 + first));
    guest.send(Buffer.from("last"));
    stream.close();
    expect(text()).toHaveLength(8 + first);
    guest.send(Buffer.from("too late"));
    stream.release();
    await turn();
    expect(text()).toHaveLength(8 + first);
  });

  it("ends without a word when the guest's side has gone", async () => {
    const { guest, stream, connect, text } = setUp();
    connect();
    guest.send(Buffer.from("bye"));
    guest.close();
    await vi.waitFor(() => expect(text()).toBe("bye"));
    expect(stream.receive(Buffer.alloc(100_000))).toBe(true);
  });
});

describe("what is for the guest", () => {
  it("is kept while the guest does not read, in its order, and whoever sends is told to wait and when to go on", async () => {
    const { guest, stream, user, connect } = setUp();
    connect();
    let sent = 0;
    for (let goesOn = true; goesOn; sent++) goesOn = stream.receive(Buffer.alloc(4096, sent % 251));
    expect(user.taken).toBe(0);
    const all: number[] = [];
    const into = Buffer.alloc(65_536);
    await vi.waitFor(() => {
      for (let got = guest.receive(into); got > 0; got = guest.receive(into)) all.push(...into.subarray(0, got));
      expect(all).toHaveLength(sent * 4096);
    });
    expect(user.taken).toBe(1);
    expect(all.every((byte, at) => byte === Math.floor(at / 4096) % 251)).toBe(true);
  });
});
