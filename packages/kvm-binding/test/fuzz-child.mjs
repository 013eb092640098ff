/**
 * Throws arbitrary arguments at every native entry point and every public method. Run as a child process (src/fuzz.test.ts): it must end by
 * itself with exit code 0, and nothing but KvmError and TypeError may come out of a call.
 *
 *   node --expose-gc test/fuzz-child.mjs SEED CALLS       FUZZ_TRACE=1 prints each call before it is made
 */
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import * as b from "../dist/index.js";

const [seed, calls] = process.argv.slice(2).map(Number);
const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));
const native = createRequire(import.meta.url)("node-gyp-build")(packageFolder);
const folder = mkdtempSync(join(tmpdir(), "kvm-binding-fuzz-"));
process.chdir(folder);

// Some calls wait (KVM_RUN, epoll_wait). A signal every few milliseconds takes them out, as a signal should.
process.on("SIGUSR2", () => {});
new Worker(`setInterval(() => process.kill(process.pid, "SIGUSR2"), 3)`, { eval: true }).unref();

/** Makes something, or nothing where this host cannot. */
function attempt(make) {
  try {
    return make();
  } catch {
    return undefined;
  }
}

/** One of everything, by name. `native` handles and the public objects they belong to. */
function makePool(file) {
  const kvm = attempt(() => b.Kvm.open());
  const vm = attempt(() => kvm.createVm());
  const memory = b.GuestMemory.create({ sizeBytes: 0x10000 });
  attempt(() => vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory, logDirtyPages: true }));
  const vcpu = attempt(() => vm.createVcpu(0));
  const ledger = b.ExitLedger.create({ machineName: "fuzz", vcpuIds: [0] });
  const eventfd = b.EventFd.create();
  const closed = b.EventFd.create();
  closed.close();
  const [socket, peer] = b.UnixSocket.pair();
  const perf = attempt(() => b.PerfEvent.open({ type: 1, config: 9 }, { pid: 0, cpu: -1 }));
  const objects = {
    kvm,
    vm,
    vcpu,
    memory,
    eventfd,
    closed,
    socket,
    peer,
    perf,
    ring: attempt(() => perf.mapRing(1)),
    poller: new b.Poller(),
    fileRing: attempt(() => new b.FileRing(4)),
    stats: attempt(() => vcpu.getStatsFd()),
    ledger,
    ledgerMemory: ledger.memory,
    listener: attempt(() => b.UnixListener.listen(join(folder, `socket-${Math.random()}`))),
    coalesced: attempt(() => vcpu.coalesced),
  };
  const handles = {};
  for (const [name, object] of Object.entries(objects)) if (object?.native !== undefined) handles[name] = object.native;
  handles.watch = native.watchStart(eventfd.fd, () => {});
  const sharedPages = (() => {
    const buffer = new SharedArrayBuffer(0x4000);
    const misalignment = native.memoryMisalignment(new Uint8Array(buffer, 0, 1), 4096);
    return new Uint8Array(buffer, (4096 - misalignment) % 4096, 0x2000);
  })();
  return { objects, handles, sharedPages, file, uses: 0 };
}

function dropPool(pool) {
  attempt(() => native.watchClose(pool.handles.watch));
  // Half of them are closed, the rest is the garbage collector's.
  if (pool.uses % 2 === 0) for (const object of Object.values(pool.objects)) attempt(() => object?.close?.());
}

const handleNames = [
  "kvm",
  "vm",
  "vcpu",
  "memory",
  "eventfd",
  "closed",
  "socket",
  "peer",
  "perf",
  "poller",
  "fileRing",
  "stats",
  "ledgerMemory",
  "watch",
];
const tableRequests = native.ioctlTable().map(([, request]) => request);

// Arguments are descriptions, made real for each call, so that a failing run can be shown and repeated.
const handle = fc.constantFrom(...handleNames).map((name) => ({ handle: name }));
const number = fc.oneof(
  fc.integer({ min: -5, max: 20 }),
  fc.integer(),
  fc.double(),
  fc.constantFrom(0, -0, 1, 4096, 0x10000, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53, -1, Number.NaN, Infinity),
);
const big = fc.oneof(fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n }), fc.constantFrom(0n, -1n, 4096n, 2n ** 64n - 1n));
const text = fc
  .oneof(fc.string({ maxLength: 40 }), fc.constantFrom("", "a\0b", "x".repeat(300), "no-such-file", "tap%d"))
  .map((t) => t.replaceAll("/", "_"));
const lengths = fc.constantFrom(0, 1, 4, 8, 16, 64, 100, 144, 312, 520, 1024, 4096, 8192, 70_000);
const bytes = fc.record({
  bytes: lengths,
  fill: fc.constantFrom(0, 1, 0xff, "random"),
  of: fc.constantFrom(
    "Uint8Array",
    "Float64Array",
    "Int32Array",
    "DataView",
    "BigUint64Array",
    "shared",
    "pages",
    "detached",
  ),
});
const odd = fc.constantFrom(
  { odd: "object" },
  { odd: "array" },
  { odd: "function" },
  { odd: "proxy" },
  { odd: "symbol" },
  { odd: "date" },
  null,
  undefined,
  true,
  false,
);
const request = fc.constantFrom(...tableRequests);
const anything = fc.oneof(
  { weight: 4, arbitrary: handle },
  { weight: 4, arbitrary: number },
  { weight: 2, arbitrary: big },
  text,
  { weight: 4, arbitrary: bytes },
  odd,
  request,
);

const pages = bytes.map((b) => ({ ...b, of: "pages" }));
const doubles = bytes.map((b) => ({ ...b, of: "Float64Array" }));
const ints = bytes.map((b) => ({ ...b, of: "Int32Array" }));
const small = fc.integer({ min: 0, max: 70 });
const fd = fc.oneof(
  fc.constantFrom("file", "eventfd", "socket", "memory", "perf", "closed").map((name) => ({ fdOf: name })),
  fc.integer({ min: -3, max: 3000 }),
);
const dir = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ fdOf: "folder" }) },
  { weight: 1, arbitrary: fc.constantFrom({ fdOf: "file" }, { fdOf: "closed" }, -1, -100) },
);
const name = fc
  .constantFrom("a", "b", "user.x", "..", "a/b", "", "x".repeat(256), "a\0")
  .map((text) => ({ name: text }));
const bool = fc.boolean();
const fn = fc.constant({ odd: "function" });
const nothing = fc.constant(null);
const H = (...names) => fc.constantFrom(...names).map((name) => ({ handle: name }));
const ioctlHandle = H("kvm", "vm", "vcpu");
const memoryOrNull = fc.oneof(H("memory"), nothing);

/** What each native function expects, so that calls get past the first check. Every export must be here. */
const signatures = {
  setErrorFactory: [fn],
  fd: [handle],
  kind: [handle],
  close: [handle],
  closed: [handle],
  share: [handle],
  attach: [number, small],
  adopt: [fd, fc.constantFrom(4096, 256, 128, 32, 8, 1)],
  ioctl: [ioctlHandle, request, fc.oneof(small, number)],
  ioctlBytes: [ioctlHandle, request, bytes],
  ioctlTable: [],
  kvmOpen: [text],
  kvmCreateVm: [H("kvm"), small],
  vmSetUserMemoryRegion: [H("vm"), small, small, number, memoryOrNull, number, number, nothing, small],
  vmGetDirtyLog: [H("vm"), small, bytes],
  vmClearDirtyLog: [H("vm"), small, small, number, bytes],
  vmSetMsrFilter: [H("vm"), small, small, number, number, bytes],
  vmCreateGuestMemfd: [H("vm"), number, small],
  vmCreateDevice: [H("vm"), small, small],
  vmCreateVcpu: [H("vm"), small],
  vmIrqLine: [H("vm"), number, small],
  getStatsFd: [H("vm", "vcpu")],
  deviceAttr: [ioctlHandle, fc.constantFrom(0x4018aee1, 0x4018aee2, 0x4018aee3), small, small, bytes],
  vcpuId: [H("vcpu")],
  vcpuRunner: [H("vcpu")],
  vcpuKick: [H("vcpu")],
  vcpuRunPage: [H("vcpu")],
  vcpuUseLedger: [
    H("vcpu"),
    fc.oneof(H("ledgerMemory", "memory"), nothing),
    fc.constantFrom(0, 4096, 12288, 16384),
    fc.constantFrom(0, 63, 64, 65, 2 ** 32 - 1),
  ],
  ledgerBucket: [fc.oneof(number, big)],
  vcpuSetSignalMask: [H("vcpu"), nothing],
  vcpuGetXsave2: [H("vcpu"), bytes],
  vcpuSetXsave: [H("vcpu"), bytes],
  vcpuOneReg: [H("vcpu"), bool, big, bytes],
  vcpuDrainDirtyRing: [H("vcpu"), doubles],
  memoryMisalignment: [bytes, number],
  memoryCreate: [pages, text, bool],
  memoryAttach: [H("memory"), pages],
  memoryTransfer: [H("memory"), fd, bool, fc.oneof(small, nothing), doubles, small],
  memoryDiscard: [H("memory"), number, number],
  eventfdCreate: [bool],
  eventfdSignal: [H("eventfd"), fc.oneof(number, big)],
  eventfdTake: [H("eventfd")],
  monotonicNs: [],
  watchStart: [fd, fn],
  watchClose: [H("watch")],
  watchRef: [H("watch"), bool],
  fileRingCreate: [fc.constantFrom(0, 1, 4, 300)],
  fileRingSubmit: [H("fileRing"), fd, doubles, small, fc.array(bytes, { maxLength: 4 })],
  fileRingWait: [H("fileRing"), ints, ints],
  pollerCreate: [],
  pollerControl: [H("poller"), small, fd, small, small],
  pollerWait: [H("poller"), number, ints, ints],
  perfOpen: [bytes, fc.constantFrom(0, -1, 1), fc.constantFrom(-1, 0, 99), nothing, small],
  perfControl: [H("perf"), fc.constantFrom(0x2400, 0x2401, 0x2402, 0x2403, 0x40082404, 0x40042409, 1), number],
  perfSetFilter: [H("perf"), text],
  perfSetOutput: [H("perf"), fc.oneof(H("perf"), nothing)],
  perfId: [H("perf")],
  perfRead: [H("perf"), doubles],
  perfMap: [H("perf"), fc.constantFrom(0, 1, 2, 3, 4, 2 ** 31)],
  perfDrain: [H("perf"), bytes],
  perfPending: [H("perf")],
  pidfdGetfd: [fc.constantFrom(process.pid, 0, -1, 1), fd, fc.constantFrom(32, 4096, 1)],
  fileRead: [H("stats"), bytes, number],
  sealedOpen: [text],
  mappedSize: [H("memory", "ledgerMemory")],
  mappedBytes: [H("memory", "ledgerMemory"), number, bytes],
  mappedDoubles: [H("memory", "ledgerMemory"), fc.constantFrom(0, 8, 9, 4096, 2 ** 40), doubles],
  filePunchHole: [fd, number, number],
  fileZeroRange: [fd, fc.oneof(small, number), fc.oneof(small, number)],
  fileLock: [fd, bool, number, number],
  fileLocked: [fd, number, number],
  fsOpenat2: [
    dir,
    name,
    fc.constantFrom(0, 2, 0o200000, 0x200000, 0x240000, 0o100, number),
    small,
    fc.constantFrom(0, 8, 14),
  ],
  fsStatx: [dir, fc.oneof(name, nothing), small, bytes],
  fsMkdirat: [dir, name, small],
  fsMknodat: [dir, name, fc.constantFrom(0o010600, 0o100600, 0o140600, 0), small, small],
  fsSymlinkat: [name, dir, name],
  fsReadlinkat: [dir, bytes],
  fsLinkat: [dir, dir, name],
  fsUnlinkat: [dir, name, bool],
  fsRenameat2: [dir, name, dir, name, small],
  fsFchmod: [dir, small],
  fsFchownat: [dir, small, small],
  fsUtimensat: [dir, number, small, number, small],
  fsGetdents64: [dir, fc.oneof(number, big, nothing), bytes],
  fsGetxattr: [dir, name, bytes],
  fsListxattr: [dir, bytes],
  fsSetxattr: [dir, name, bytes, small],
  fsRemovexattr: [dir, name],
  fsFstatfs: [dir],
  tapOpen: [text, small, small, small],
  tapSetOffload: [handle, small],
  socketPair: [bool],
  socketConnect: [text, bool],
  socketListen: [text, bool, small],
  socketAccept: [H("socket")],
  socketShutdownWrite: [H("socket")],
  socketSend: [H("socket", "peer"), bytes, handle],
  socketReceive: [H("socket", "peer"), bytes, fc.constant({ odd: "array" })],
  tapWriteAll: [H("tap", "socket"), fc.array(bytes, { maxLength: 3 }), small],
  tapReadAll: [H("tap", "socket"), bytes, ints, small],
  streamRead: [H("socket", "peer"), bytes],
  streamWrite: [H("socket", "peer"), bytes],
  ptyOpen: [],
};

const missing = Object.keys(native).filter((name) => signatures[name] === undefined);
if (missing.length > 0) throw new Error(`no signature for ${missing.join(", ")}: add them to test/fuzz-child.mjs`);

/** Descriptors that belong to the process itself (libuv's pipes among them) are not to be written to: nobody could tell whose fault a crash is. */
const firstFreeFd = 600;

function real(pool, argument, rawFd) {
  if (typeof argument === "number" && rawFd && argument >= 0 && argument < firstFreeFd) return argument + firstFreeFd;
  if (typeof argument !== "object" || argument === null) return argument;
  if ("handle" in argument) return pool.handles[argument.handle];
  if ("fdOf" in argument) {
    if (argument.fdOf === "file") return pool.file;
    if (argument.fdOf === "folder") return folderFd;
    if (argument.fdOf === "closed") return firstFreeFd - 1;
    return attempt(() => pool.objects[argument.fdOf].fd) ?? -1;
  }
  if ("name" in argument) return Buffer.from(argument.name);
  if ("bytes" in argument) {
    if (argument.of === "pages") return pool.sharedPages;
    const length = argument.of === "shared" ? argument.bytes : Math.ceil(argument.bytes / 8) * 8;
    const array = new Uint8Array(argument.of === "shared" ? new SharedArrayBuffer(length) : length);
    if (argument.fill === "random") for (let i = 0; i < length; i++) array[i] = (i * 2654435761 + seed) >>> 7;
    else array.fill(argument.fill);
    if (argument.of === "detached") structuredClone(array.buffer, { transfer: [array.buffer] });
    const type = { Float64Array, Int32Array, DataView, BigUint64Array }[argument.of];
    return type === undefined ? array : new type(array.buffer);
  }
  switch (argument.odd) {
    case "array":
      return [];
    case "function":
      return () => {};
    case "proxy":
      return new Proxy(pool.handles.eventfd, {});
    case "symbol":
      return Symbol("odd");
    case "date":
      return new Date();
    default:
      return {};
  }
}

const takesRawFd = new Set([
  "memoryTransfer",
  "watchStart",
  "filePunchHole",
  "fileZeroRange",
  "fileLock",
  "fileLocked",
  ...Object.keys(native).filter((name) => name.startsWith("fs")),
  "adopt",
  "fileRingSubmit",
  "submit",
  "pollerControl",
  "add",
  "modify",
  "remove",
  "preadv",
  "pwritev",
  "readv",
  "writev",
]);

/** Where such a call has its descriptors, unless every number may be one. */
const fdPositions = { fsSymlinkat: [1], fsLinkat: [0, 1], fsRenameat2: [0, 2] };
const isFd = (name, index) => !name.startsWith("fs") || (fdPositions[name] ?? [0]).includes(index);

/** Public methods: every method of every object in the pool, and the static makers. */
const methodNames = (object) => {
  const names = new Set();
  for (let p = Object.getPrototypeOf(object); p !== null && p !== Object.prototype; p = Object.getPrototypeOf(p)) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(p))) {
      if (typeof value === "function" && name !== "constructor") names.add(name);
    }
  }
  return [...names];
};
const statics = [
  b.Kvm,
  b.Vm,
  b.Vcpu,
  b.GuestMemory,
  b.EventFd,
  b.Poller,
  b.StatsFd,
  b.PerfEvent,
  b.UnixSocket,
  b.UnixListener,
  b.ExitLedger,
  b.Regs,
  b.Sregs,
];

const file = openSync(join(folder, "file"), "w+");
writeSync(file, Buffer.alloc(10_000, 7));
mkdirSync(join(folder, "shared"));
const folderFd = openSync(join(folder, "shared"), "r");
let pool = makePool(file);

const publicCalls = [
  ...Object.entries(pool.objects).flatMap(([name, object]) =>
    object === undefined ? [] : methodNames(object).map((method) => ({ object: name, method })),
  ),
  ...statics.flatMap((type, i) =>
    Object.entries(Object.getOwnPropertyDescriptors(type))
      .filter(([name, { value }]) => typeof value === "function" && name !== "prototype")
      .map(([method]) => ({ static: i, method })),
  ),
];

const plausible = fc
  .constantFrom(...Object.keys(signatures))
  .chain((name) =>
    fc.tuple(
      fc.constant(name),
      fc.tuple(
        ...signatures[name].map((a) => fc.oneof({ weight: 9, arbitrary: a }, { weight: 1, arbitrary: anything })),
      ),
    ),
  );
const wild = fc.tuple(fc.constantFrom(...Object.keys(signatures)), fc.array(anything, { maxLength: 9 }));
const options = fc.dictionary(
  fc.constantFrom(
    "slot",
    "guestPhysAddr",
    "memory",
    "sizeBytes",
    "offsetBytes",
    "readonly",
    "eventfd",
    "gsi",
    "addr",
    "lengthBytes",
    "pio",
    "type",
    "pid",
    "cpu",
    "fd",
    "capacity",
    "machineName",
    "vcpuIds",
    "slots",
    "ranges",
    "base",
    "count",
    "bitmap",
    "name",
    "token",
    "buffer",
    "control",
  ),
  anything,
  { maxKeys: 5 },
);
const publicCall = fc.tuple(fc.constantFrom(...publicCalls), fc.array(fc.oneof(anything, options), { maxLength: 5 }));

let made = 0;
const outcomes = { returned: 0, KvmError: 0, TypeError: 0 };

function realDeep(argument, rawFd) {
  if (
    typeof argument === "object" &&
    argument !== null &&
    !("handle" in argument || "bytes" in argument || "odd" in argument || "fdOf" in argument)
  ) {
    return Object.fromEntries(
      Object.entries(argument).map(([key, value]) => [
        key,
        key === "memory" || key === "eventfd"
          ? (pool.objects[value?.handle] ?? value)
          : real(pool, value, key === "fd"),
      ]),
    );
  }
  return real(pool, argument, rawFd);
}

function call(target, name, args) {
  if (process.env.FUZZ_TRACE)
    writeSync(2, `${name} ${JSON.stringify(args, (_, v) => (typeof v === "bigint" ? `${v}n` : v))}\n`);
  const rawFd = takesRawFd.has(name);
  try {
    let result = target(args.map((argument, i) => realDeep(argument, rawFd && isFd(name, i))));
    // A vCPU that was made strange is only looked at, not let loose: the kick makes run() return before the guest does anything.
    if (name === "vcpuRunner" && typeof result === "function") {
      native.vcpuKick(pool.handles.vcpu);
      result = result();
    }
    if (name === "fsOpenat2") closeSync(result);
    outcomes.returned++;
  } catch (error) {
    if (error instanceof b.KvmError) outcomes.KvmError++;
    else if (error instanceof TypeError) outcomes.TypeError++;
    else throw error;
  }
  if (++made % 50 === 0) {
    dropPool(pool);
    pool = makePool(file);
    if (made % 500 === 0) globalThis.gc?.();
  }
}

const run = { seed, numRuns: calls, endOnFailure: true };
fc.assert(
  fc.property(plausible, ([name, args]) => call((real) => native[name](...real), name, args)),
  run,
);
fc.assert(
  fc.property(wild, ([name, args]) => call((real) => native[name](...real), name, args)),
  run,
);
fc.assert(
  fc.property(publicCall, ([{ object, static: type, method }, args]) =>
    call(
      (real) => {
        if (type !== undefined) return statics[type][method](...real);
        if (method === "run") pool.objects.vcpu?.kick();
        if (method === "wait") return pool.objects[object].wait(0);
        return pool.objects[object]?.[method](...real);
      },
      type === undefined ? `${object}.${method}`.split(".")[1] : method,
      args,
    ),
  ),
  run,
);
closeSync(file);
process.chdir("/");
rmSync(folder, { recursive: true, force: true });
console.log(JSON.stringify({ entryPoints: Object.keys(signatures).length, methods: publicCalls.length, ...outcomes }));
process.exit(0);
