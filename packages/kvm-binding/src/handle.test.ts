import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import * as b from "./index.js";
import { native } from "./load-native.js";
import { exited, hasKvm, inWorker, NEEDS_KVM, nextMessage, realModeGuest } from "./testing.js";

const { KvmError } = b;

/** Everything a class's instances can be asked: getters and methods. */
function membersOf(object: object): string[] {
  const names = new Set<string>();
  for (let p = Object.getPrototypeOf(object); p !== Object.prototype; p = Object.getPrototypeOf(p)) {
    for (const name of Object.getOwnPropertyNames(p)) names.add(name);
  }
  for (const harmless of ["constructor", "close", "closed"]) names.delete(harmless);
  return [...names];
}

/** Arguments that let a method get as far as its handle. */
const args: Record<string, unknown[]> = {
  ioctl: [b.KVM_CHECK_EXTENSION, 0],
  ioctlBytes: [b.KVM_GET_REGS, new Uint8Array(144)],
  checkExtension: [0],
  getMsrs: [[0x10]],
  createVcpu: [1],
  enableCap: [1],
  setUserMemoryRegion: [{ slot: 0, guestPhysAddr: 0, memory: null }],
  getDirtyLog: [0, new Uint8Array(8)],
  clearDirtyLog: [0, 0, 64, new Uint8Array(8)],
  setTssAddr: [0],
  setIdentityMapAddr: [0],
  setBootCpuId: [0],
  setNrMmuPages: [64],
  getIrqchip: [0],
  setIrqchip: [new b.Irqchip()],
  setPit2: [new b.PitState2()],
  reinjectControl: [true],
  irqLine: [0, 0],
  irqLineStatus: [0, 0],
  setGsiRouting: [[]],
  irqfd: [{ eventfd: { fd: 0 }, gsi: 0 }],
  ioeventfd: [{ eventfd: { fd: 0 }, addr: 0, lengthBytes: 1 }],
  registerCoalescedZone: [{ addr: 0, sizeBytes: 8 }],
  unregisterCoalescedZone: [{ addr: 0, sizeBytes: 8 }],
  signalMsi: [{ address: 0, data: 0 }],
  setClock: [new b.ClockData()],
  setTscKhz: [1000],
  setMsrFilter: [{}],
  setPmuEventFilter: [{ action: 0, events: [] }],
  hypervEventfd: [{ connId: 0, eventfd: { fd: 0 } }],
  setMemoryAttributes: [{ address: 0, sizeBytes: 4096, attributes: 0 }],
  createGuestMemfd: [{ sizeBytes: 4096 }],
  createDevice: [0],
  hasDevice: [0],
  hasDeviceAttr: [0, 0],
  useLedger: [null],
  setRegs: [{}],
  setSregs: [new b.Sregs()],
  setSregs2: [new b.Sregs2()],
  setFpu: [new b.Fpu()],
  getXsave2: [4096],
  setXsave: [new Uint8Array(4096)],
  setXcrs: [new b.Xcrs()],
  setDebugregs: [new b.Debugregs()],
  setVcpuEvents: [new b.VcpuEvents()],
  setMpState: [0],
  setLapic: [new b.LapicState()],
  setMsrs: [[{ index: 0x10, data: 0n }]],
  setCpuid2: [[]],
  translate: [0],
  interrupt: [32],
  setGuestDebug: [{ control: 0 }],
  setSignalMask: [null],
  tprAccessReporting: [true],
  setVapicAddr: [0],
  setupMce: [1],
  setMce: [{}],
  setNestedState: [new Uint8Array(128)],
  getOneReg: [0x2030000000000000n],
  setOneReg: [0x2030000000000000n, new Uint8Array(8)],
  preFaultMemory: [{ gpa: 0, sizeBytes: 4096 }],
  setTscOffset: [0n],
  drainDirtyRing: [new Float64Array(2)],
  preadv: [0, new Float64Array(0), 0],
  pwritev: [0, new Float64Array(0), 0],
  readv: [0, new Float64Array(0)],
  writev: [0, new Float64Array(0)],
  discard: [0, 4096],
  signal: [1],
  add: [{ fd: 0 }, 0],
  modify: [{ fd: 0 }, 0, 1],
  remove: [{ fd: 0 }],
  wait: [0],
  send: [new Uint8Array(1)],
  receive: [new Uint8Array(1)],
  shutdownWrite: [],
  setPeriod: [1],
  pauseOutput: [true],
  setFilter: ["1"],
  setOutput: [null],
  mapRing: [1],
};

/** Members that say what was known before the handle was closed. */
const stillKnown = ["bytes", "sizeBytes", "descriptor", "value", "readGroup"];

function expectClosed(handle: { close(): void; closed: boolean }): void {
  handle.close();
  handle.close();
  expect(handle.closed).toBe(true);
  for (const name of membersOf(handle)) {
    if (stillKnown.includes(name)) continue;
    let error: unknown;
    try {
      const value = (handle as unknown as Record<string, unknown>)[name];
      if (typeof value === "function") value.apply(handle, args[name] ?? []);
    } catch (thrown) {
      error = thrown;
    }
    expect(error, name).toBeInstanceOf(KvmError);
    expect((error as InstanceType<typeof KvmError>).code, `${name}: ${(error as Error).message}`).toBe("CLOSED");
  }
}

describe("every handle that needs no KVM", () => {
  it.each([
    ["EventFd", () => b.EventFd.create()],
    ["GuestMemory", () => b.GuestMemory.create({ sizeBytes: 4096 })],
    ["Poller", () => new b.Poller()],
    ["UnixSocket", () => b.UnixSocket.pair()[0]],
  ])("closes twice, and throws CLOSED for every use after: %s", (_, make) => expectClosed(make()));

  it("closes at the end of its scope (Symbol.dispose)", () => {
    const eventfd = b.EventFd.create();
    const { fd } = eventfd;
    eventfd[Symbol.dispose]();
    expect(existsSync(`/proc/self/fd/${fd}`)).toBe(false);
  });

  it("has no public constructor", () => {
    expect(() => new (b.EventFd as unknown as new (n: unknown) => unknown)({})).toThrow(TypeError);
    expect(() => new (b.Vm as unknown as new (n: unknown, m: unknown) => unknown)({}, "made")).toThrow(TypeError);
  });

  it("shares its descriptor by token and keeps it open until the last handle is closed", () => {
    const first = b.EventFd.create();
    const second = b.EventFd.attach(first.share());
    expect(second.fd).toBe(first.fd);
    expect(second.share()).toBe(first.share());
    const { fd } = first;
    first.close();
    second.signal(3);
    expect(second.take()).toBe(3);
    second.close();
    expect(existsSync(`/proc/self/fd/${fd}`)).toBe(false);
  });

  it("refuses tokens that nobody gave out, that are stale, or of another kind", () => {
    const eventfd = b.EventFd.create();
    const token = eventfd.share();
    expect(Number.isSafeInteger(token) && token > 0).toBe(true);
    expect(() => b.EventFd.attach(token + 1)).toThrow(KvmError);
    expect(() => b.EventFd.attach(0)).toThrow(KvmError);
    expect(() => b.EventFd.attach(-1)).toThrow(KvmError);
    expect(() => b.EventFd.attach("x" as never)).toThrow(TypeError);
    expect(() => b.Vm.attach(token)).toThrow(/eventfd/);
    eventfd.close();
    expect(() => b.EventFd.attach(token)).toThrow(/no open handle/);
  });

  it("is not taken for a handle of another kind, and foreign objects are not taken for handles", () => {
    const eventfd = b.EventFd.create();
    expect(() => native.vmIrqLine(eventfd.native, 0, 0)).toThrow(/eventfd handle/);
    for (const foreign of [
      {},
      [],
      null,
      undefined,
      1,
      "x",
      () => {},
      Object.create(eventfd.native),
      new Proxy(eventfd.native, {}),
      eventfd,
    ]) {
      expect(() => native.fd(foreign as never)).toThrow(TypeError);
    }
    eventfd.close();
  });

  it("goes on in another thread after the first thread has closed its own", async () => {
    const eventfd = b.EventFd.create();
    const worker = inWorker(
      "const e = b.EventFd.attach(data); post('attached'); e.signal(5); post(e.take()); e.close();",
      eventfd.share(),
    );
    const done = exited(worker);
    expect(await nextMessage(worker)).toBe("attached");
    eventfd.close();
    expect(await nextMessage(worker)).toBe(5);
    await done;
  });
});

describe.skipIf(!hasKvm)(`every KVM handle${NEEDS_KVM}`, () => {
  it("closes twice, and throws CLOSED for every use after", () => {
    const guest = realModeGuest([0xf4]);
    const stats = guest.vcpu.getStatsFd();
    for (const handle of [stats, guest.vcpu, guest.vm, guest.memory, guest.kvm]) expectClosed(handle);
  });

  it("keeps working whatever order its relatives are closed in", () => {
    const guest = realModeGuest([0xe6, 0x10, 0xf4]); // out 0x10, al; hlt
    guest.kvm.close();
    guest.vm.close();
    guest.memory.close(); // the guest's memory stays the guest's
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_HLT);
    guest.vcpu.close();
  });

  it("refuses an ioctl that is not in the table, not for its kind, or given too few bytes", () => {
    using guest = realModeGuest([0xf4]);
    expect(() => guest.vm.ioctl(0x5401, 0)).toThrow(/not one this binding passes on/); // TCGETS
    expect(() => guest.vm.ioctl(b.KVM_RUN, 0)).toThrow(/not one this binding passes on/);
    expect(() => guest.vm.ioctl(b.KVM_NMI, 0)).toThrow(/VM handle/);
    expect(() => guest.vcpu.ioctlBytes(b.KVM_GET_REGS, new Uint8Array(143))).toThrow(/143 bytes given, 144 needed/);
    expect(() => guest.vcpu.ioctlBytes(b.KVM_NMI, new Uint8Array(8))).toThrow(/takes a number/);
    expect(() => guest.vcpu.ioctl(b.KVM_GET_REGS, 0)).toThrow(/takes a struct/);
    const cpuid = new Uint32Array([1000, 0, ...Array(90).fill(0)]);
    expect(() => guest.kvm.ioctlBytes(b.KVM_GET_SUPPORTED_CPUID, new Uint8Array(cpuid.buffer))).toThrow(/40008 needed/);
    expect(() => guest.vcpu.ioctlBytes(b.KVM_GET_REGS, new Uint8Array(new SharedArrayBuffer(144)))).toThrow(
      /SharedArrayBuffer/,
    );
  });
});
