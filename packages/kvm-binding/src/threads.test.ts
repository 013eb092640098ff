import { describe, expect, it } from "vitest";
import * as b from "./index.js";
import { exited, hasKvm, inWorker, NEEDS_KVM, nextMessage, realModeGuest, watch } from "./testing.js";

/** jmp to itself: only a kick ends it. */
const SPIN = [0xeb, 0xfe];

describe.skipIf(!hasKvm)(`a vCPU between threads${NEEDS_KVM}`, () => {
  it("runs in a Worker and is kicked out from here", async () => {
    using guest = realModeGuest(SPIN);
    const worker = inWorker(
      `const v = b.Vcpu.attach(data); post("running"); post(v.run()); v.close();`,
      guest.vcpu.share(),
    );
    const done = exited(worker);
    expect(await nextMessage(worker)).toBe("running");
    const answer = nextMessage(worker);
    guest.vcpu.kick();
    expect(await answer).toBe(-b.EINTR);
    await done;
  });

  it("never loses a kick, whenever it comes", async () => {
    using guest = realModeGuest(SPIN);
    const KICKS = 2_000;
    const word = new Int32Array(new SharedArrayBuffer(8)); // [asked, answered]
    const worker = inWorker(
      `const v = b.Vcpu.attach(data.token), word = data.word;
       for (let seen = 0; seen < data.kicks;) {
         const r = v.run();
         if (r !== -b.EINTR) throw new Error("run() returned " + r);
         const asked = Atomics.load(word, 0);
         if (asked !== seen) { seen = asked; Atomics.store(word, 1, seen); Atomics.notify(word, 1); }
       }
       v.close(); post("done");`,
      { token: guest.vcpu.share(), word, kicks: KICKS },
    );
    const done = nextMessage(worker);
    for (let n = 1; n <= KICKS; n++) {
      Atomics.store(word, 0, n);
      guest.vcpu.kick();
      // A different pause each time, so that kicks meet every point of the loop.
      for (let spin = 0; spin < (n * 37) % 500; spin++) Atomics.load(word, 1);
      while (Atomics.load(word, 1) < n) {
        expect(Atomics.wait(word, 1, n - 1, 10_000)).not.toBe("timed-out");
      }
    }
    expect(await done).toBe("done");
  });

  it("is refused to a second thread while the first is inside, and free afterwards", async () => {
    using guest = realModeGuest(SPIN);
    const worker = inWorker(
      `const v = b.Vcpu.attach(data); post("running"); v.run(); v.close(); post("out");`,
      guest.vcpu.share(),
    );
    expect(await nextMessage(worker)).toBe("running");
    let error: unknown;
    for (let i = 0; i < 1000 && error === undefined; i++) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      try {
        guest.vcpu.useLedger(null); // takes the vCPU for a moment too, without going inside
      } catch (thrown) {
        error = thrown;
      }
    }
    expect(error).toMatchObject({ code: "WRONG_THREAD" });
    expect(() => guest.vcpu.run()).toThrow(expect.objectContaining({ code: "WRONG_THREAD" }));
    expect(() => guest.vcpu.drainDirtyRing(new Float64Array(2))).toThrow(
      expect.objectContaining({ code: "WRONG_THREAD" }),
    );
    const out = nextMessage(worker);
    guest.vcpu.kick();
    expect(await out).toBe("out");
    guest.vcpu.kick();
    expect(guest.vcpu.run()).toBe(-b.EINTR);
  });

  it("goes on running in its Worker when every handle here is closed", async () => {
    const guest = realModeGuest([0xe6, 0x10, 0xeb, 0xfc]); // out 0x10, al; jmp back
    const worker = inWorker(
      `const v = b.Vcpu.attach(data); post("attached");
       parentPort.once("message", () => {
         const reasons = new Set(); for (let i = 0; i < 1000; i++) reasons.add(v.run());
         v.close(); post([...reasons]);
       });`,
      guest.vcpu.share(),
    );
    expect(await nextMessage(worker)).toBe("attached");
    guest[Symbol.dispose]();
    const reasons = nextMessage(worker);
    worker.postMessage("go");
    expect(await reasons).toEqual([b.KVM_EXIT_IO]);
  });

  it("can be closed here while it runs there", async () => {
    const guest = realModeGuest(SPIN);
    const token = guest.vcpu.share();
    const worker = inWorker(`const v = b.Vcpu.attach(data); post("running"); post(v.run()); v.close();`, token);
    expect(await nextMessage(worker)).toBe("running");
    const kicker = b.Vcpu.attach(token);
    const answer = nextMessage(worker);
    guest[Symbol.dispose]();
    kicker.kick();
    expect(await answer).toBe(-b.EINTR);
    kicker.close();
  });

  it("survives the end of a Worker that never closed anything", async () => {
    using guest = realModeGuest([0xe6, 0x10, 0xeb, 0xfc]);
    const worker = inWorker(
      `const v = b.Vcpu.attach(data.vcpu), vm = b.Vm.attach(data.vm), m = b.GuestMemory.attach(data.memory), e = b.EventFd.create();
       globalThis.keep = [v, vm, m, e, v.runPage, v.coalesced, b.watch(e, () => {}), new b.Poller(), m.bytes];
       post(v.run()); process.exit();`,
      { vcpu: guest.vcpu.share(), vm: guest.vm.share(), memory: guest.memory.share() },
    );
    const done = exited(worker);
    expect(await nextMessage(worker)).toBe(b.KVM_EXIT_IO);
    await done;
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
    guest.memory.bytes[0] = 1;
    expect(guest.memory.bytes[0]).toBe(1);
  });

  it("shows the same run page in two threads", async () => {
    using guest = realModeGuest([0xe6, 0x10, 0xf4]);
    const worker = inWorker(
      `const v = b.Vcpu.attach(data); v.run(); post(new Uint8Array(v.runPage)[b.RUN_EXIT_REASON]); v.close();`,
      guest.vcpu.share(),
    );
    expect(await nextMessage(worker)).toBe(b.KVM_EXIT_IO);
    expect(guest.vcpu.runView.exitReason).toBe(b.KVM_EXIT_IO);
  });

  it("runs beside others, each in its Worker, on the same memory", async () => {
    using guest = realModeGuest([0xff, 0x06, 0x00, 0x50, 0xe6, 0x10, 0xeb, 0xf8]); // inc word [0x5000]; out 0x10, al; jmp back
    using second = guest.vm.createVcpu(1);
    watch(second);
    second.setSregs(guest.vcpu.getSregs());
    second.setRegs(guest.vcpu.getRegs());
    const body = `const v = b.Vcpu.attach(data); for (let i = 0; i < 500; i++) if (v.run() !== 2) throw new Error("no port exit"); v.close(); post("done");`;
    const answers = [guest.vcpu, second].map((vcpu) => nextMessage(inWorker(body, vcpu.share())));
    expect(await Promise.all(answers)).toEqual(["done", "done"]);
    const count = new DataView(guest.memory.bytes.buffer, guest.memory.bytes.byteOffset).getUint16(0x5000, true);
    expect(count).toBeGreaterThan(500);
  });
});
