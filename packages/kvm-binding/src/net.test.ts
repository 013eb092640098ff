import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import * as b from "./index.js";

const { KvmError, Tap, UnixListener, UnixSocket } = b;
const folder = mkdtempSync(join(tmpdir(), "kvm-binding-net-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("unix sockets", () => {
  it("carry bytes and descriptors", () => {
    const [here, there] = UnixSocket.pair();
    using eventfd = b.EventFd.create();
    expect(here.send(Uint8Array.of(1, 2, 3), [eventfd, here])).toBe(3);
    const bytes = new Uint8Array(8);
    const handles: b.ReceivedFd[] = [];
    expect(there.receive(bytes, handles)).toBe(3);
    expect([...bytes.subarray(0, 3)]).toEqual([1, 2, 3]);
    expect(handles).toHaveLength(2);
    using adopted = b.EventFd.adopt(handles[0]!.fd);
    adopted.signal(6);
    expect(eventfd.take()).toBe(6);
    for (const handle of handles) handle.close();
    expect(there.receive(bytes)).toBe(-b.EAGAIN);
    here.close();
    expect(there.receive(bytes)).toBe(0);
    expect(() => there.send(bytes)).toThrow(/EPIPE/);
    there.close();
  });

  it("say that they send no more, and go on receiving", () => {
    const [here, there] = UnixSocket.pair();
    here.send(Uint8Array.of(7));
    here.shutdownWrite();
    const bytes = new Uint8Array(8);
    expect([there.receive(bytes), there.receive(bytes)]).toEqual([1, 0]);
    there.send(Uint8Array.of(1, 2));
    expect(here.receive(bytes)).toBe(2);
    expect(() => here.send(bytes)).toThrow(/EPIPE/);
    here.close();
    there.close();
  });

  it("keep the bounds of packets when asked to", () => {
    const [here, there] = UnixSocket.pair({ packets: true });
    here.send(Uint8Array.of(1));
    here.send(Uint8Array.of(2, 3));
    const bytes = new Uint8Array(8);
    expect([there.receive(bytes), there.receive(bytes)]).toEqual([1, 2]);
    here.close();
    there.close();
  });

  it("listen on a path that only this user may open", () => {
    const path = join(folder, "socket");
    using listener = UnixListener.listen(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(listener.accept()).toBe(null);
    using client = UnixSocket.connect(path);
    using server = listener.accept()!;
    client.send(Uint8Array.of(42));
    const bytes = new Uint8Array(1);
    expect(server.receive(bytes)).toBe(1);
    expect(bytes[0]).toBe(42);
    expect(() => UnixListener.listen(path)).toThrow(/bind failed with EADDRINUSE/);
    expect(() => UnixSocket.connect(join(folder, "nobody"))).toThrow(/ENOENT/);
    expect(() => UnixSocket.connect("x".repeat(200))).toThrow(/107 bytes/);
  });

  it("refuse too many descriptors and foreign objects", () => {
    const [here, there] = UnixSocket.pair();
    expect(() => here.send(Uint8Array.of(1), Array(65).fill(here))).toThrow(/64/);
    expect(() => here.send(Uint8Array.of(1), [{ native: {} } as never])).toThrow(TypeError);
    expect(() => here.send("x" as never)).toThrow(TypeError);
    here.close();
    there.close();
  });
});

const canTap = (() => {
  try {
    Tap.open().close();
    return true;
  } catch {
    return false;
  }
})();

describe.skipIf(!canTap)(`a tap${canTap ? "" : " (skipped: no /dev/net/tun or no right to it)"}`, () => {
  it("opens by name, with and without a virtio-net header", () => {
    using tap = Tap.open({ name: "tkvmtest%d", vnetHeaderBytes: 12, offload: b.TUN_F_CSUM });
    expect(tap.name).toMatch(/^tkvmtest\d+$/);
    expect(() => Tap.open({ name: tap.name })).toThrow(/EBUSY|EINVAL/);
    expect(tap.read(new Uint8Array(2048))).toBeLessThan(0); // nothing there, or the interface is down
    tap.setOffload(b.TUN_F_CSUM | b.TUN_F_TSO4);
    expect(() => tap.setOffload(1 << 30)).toThrow(/EINVAL/);
    using other = Tap.attach(tap.share(), tap.name);
    expect(other.fd).toBe(tap.fd);
    expect(() => Tap.open({ name: "a name far too long" })).toThrow(KvmError);
  });

  it("moves whole frames", () => {
    using tap = Tap.open();
    try {
      execFileSync("ip", ["link", "set", tap.name, "up"], { stdio: "ignore" });
    } catch {
      return; // no iproute2 here: opening has been shown above
    }
    const frame = new Uint8Array(60).fill(0xff, 0, 6);
    frame.set([0x88, 0xb5], 12); // an experimental EtherType: nobody answers
    expect(tap.write(frame)).toBe(60);
    expect(tap.writeAll([frame, new Uint8Array(0), frame])).toBe(-b.EINVAL);
    expect(tap.writeAll([frame, frame])).toBe(0);
    expect(() => tap.writeAll([frame, 1 as unknown as Uint8Array])).toThrow(TypeError);
    execFileSync("ip", ["link", "set", tap.name, "down"], { stdio: "ignore" });
    expect(tap.writeAll([frame])).toBe(-b.EIO);
  });
});
