/**
 * The native contract: every function of build/Release/kvm_binding.node.
 *
 * C++ checks that a handle is a handle of the right kind, open, and that sizes and ranges fit; then it makes the system call. Every failure
 * is the error that the registered factory makes (a KvmError); an argument of the wrong type is a TypeError. Nothing is coerced, nothing
 * has a default: that is TypeScript's part. Numbers called u64 may be a safe integer or a bigint.
 */

declare const handleBrand: unique symbol;

/** An open file descriptor, opaque. Closed by close() or by the garbage collector; the descriptor goes with the last handle over it. */
export interface NativeHandle {
  readonly [handleBrand]: true;
}

declare const watchBrand: unique symbol;
export interface NativeWatch {
  readonly [watchBrand]: true;
}

type U64 = number | bigint;

export interface Native {
  /** How errors are made: (code, ioctl, errno, detail) -> the error to throw. A thread's first factory stays; false for any other. */
  setErrorFactory(make: (code: string, ioctl: string, errno: number, detail: string) => Error): boolean;

  // handle.cc
  fd(handle: NativeHandle): number;
  /** Which kind of handle: one bit of `Kind` in handle.ts. */
  kind(handle: NativeHandle): number;
  close(handle: NativeHandle): void;
  closed(handle: NativeHandle): boolean;
  /** A token for attach() in any thread of this process, good while some handle over the descriptor is open. */
  share(handle: NativeHandle): number;
  attach(token: U64, kinds: number): NativeHandle;
  /** A handle over a duplicate of a descriptor. */
  adopt(fd: number, kind: number): NativeHandle;

  // ioctl.cc
  ioctl(handle: NativeHandle, request: number, value: U64): number;
  ioctlBytes(handle: NativeHandle, request: number, bytes: ArrayBufferView): number;
  /** [name, request, kinds it applies to, bytes of its struct or of the head of it] */
  ioctlTable(): [name: string, request: number, kinds: number, bytes: number][];

  // vm.cc
  kvmOpen(path: string): NativeHandle;
  kvmCreateVm(kvm: NativeHandle, type: U64): NativeHandle;
  vmSetUserMemoryRegion(
    vm: NativeHandle,
    slot: number,
    flags: number,
    guestPhysAddr: U64,
    memory: NativeHandle | null,
    offsetBytes: U64,
    sizeBytes: U64,
    guestMemfd: NativeHandle | null,
    guestMemfdOffset: U64,
  ): void;
  vmGetDirtyLog(vm: NativeHandle, slot: number, bitmap: ArrayBufferView): void;
  vmClearDirtyLog(vm: NativeHandle, slot: number, firstPage: U64, pageCount: number, bitmap: ArrayBufferView): void;
  /** Four arguments a range: flags, base, count, bitmap. */
  vmSetMsrFilter(vm: NativeHandle, flags: number, ...ranges: (number | ArrayBufferView)[]): void;
  vmCreateGuestMemfd(vm: NativeHandle, sizeBytes: U64, flags: U64): NativeHandle;
  vmCreateDevice(vm: NativeHandle, type: number, flags: number): NativeHandle | null;
  vmIrqLine(vm: NativeHandle, gsi: number, level: number): void;
  getStatsFd(vmOrVcpu: NativeHandle): NativeHandle;
  deviceAttr(handle: NativeHandle, request: number, group: number, attr: U64, bytes: ArrayBufferView): void;

  // vcpu.cc
  vmCreateVcpu(vm: NativeHandle, id: number): NativeHandle;
  vcpuId(vcpu: NativeHandle): number;
  /** A function that is KVM_RUN: no arguments, no `this`. */
  vcpuRunner(vcpu: NativeHandle): () => number;
  vcpuKick(vcpu: NativeHandle): void;
  vcpuRunPage(vcpu: NativeHandle): ArrayBuffer;
  vcpuUseLedger(vcpu: NativeHandle, ledger: NativeHandle | null, blockOffset: U64, slotCount: number): void;
  ledgerBucket(ns: U64): number;
  vcpuSetSignalMask(vcpu: NativeHandle, mask: ArrayBufferView | null): void;
  vcpuGetXsave2(vcpu: NativeHandle, bytes: ArrayBufferView): void;
  vcpuSetXsave(vcpu: NativeHandle, bytes: ArrayBufferView): void;
  vcpuOneReg(vcpu: NativeHandle, set: boolean, id: U64, bytes: ArrayBufferView): void;
  /** Pairs (slot, page) into a Float64Array; returns how many pairs. */
  vcpuDrainDirtyRing(vcpu: NativeHandle, into: Float64Array): number;

  // memory.cc
  memoryMisalignment(view: ArrayBufferView, boundary: number): number;
  memoryCreate(view: ArrayBufferView, name: string, hugePages: boolean): NativeHandle;
  memoryAttach(memory: NativeHandle, view: ArrayBufferView): NativeHandle;
  memoryTransfer(
    memory: NativeHandle,
    fd: number,
    write: boolean,
    fileOffset: U64 | null,
    segments: Float64Array,
    count: number,
  ): number;
  memoryDiscard(memory: NativeHandle, offsetBytes: U64, lengthBytes: U64): void;

  // eventfd.cc
  eventfdCreate(semaphore: boolean): NativeHandle;
  eventfdSignal(eventfd: NativeHandle, count: U64): void;
  eventfdTake(eventfd: NativeHandle): number;
  monotonicNs(): number;

  // watch.cc
  watchStart(fd: number, onReadable: () => void): NativeWatch;
  watchClose(watch: NativeWatch): void;
  watchRef(watch: NativeWatch, ref: boolean): void;

  // file-ring.cc
  fileRingCreate(entries: number): NativeHandle;
  /** Four numbers a request: offset, flags (1 write, 2 by a thread of the kernel's), buffers, name. */
  fileRingSubmit(
    ring: NativeHandle,
    file: number,
    requests: Float64Array,
    count: number,
    buffers: readonly ArrayBufferView[],
  ): void;
  fileRingWait(ring: NativeHandle, names: Int32Array, results: Int32Array): number;

  // poller.cc
  pollerCreate(): NativeHandle;
  /** operation: 1 add, 2 remove, 3 modify. */
  pollerControl(poller: NativeHandle, operation: number, fd: number, key: number, events: number): void;
  pollerWait(poller: NativeHandle, timeoutMs: number, keys: Int32Array, events: Int32Array): number;

  // perf.cc
  perfOpen(attr: ArrayBufferView, pid: number, cpu: number, group: NativeHandle | null, flags: number): NativeHandle;
  perfControl(event: NativeHandle, request: number, value: U64): void;
  perfSetFilter(event: NativeHandle, filter: string): void;
  perfSetOutput(event: NativeHandle, target: NativeHandle | null): void;
  perfId(event: NativeHandle): number;
  /** The counter and what read_format adds to it; returns how many numbers. */
  perfRead(event: NativeHandle, into: Float64Array): number;
  perfMap(event: NativeHandle, dataPages: number): void;
  perfDrain(event: NativeHandle, into: ArrayBufferView): number;
  perfPending(event: NativeHandle): number;

  // process.cc
  pidfdGetfd(pid: number, fd: number, kind: number): NativeHandle;
  fileRead(handle: NativeHandle, into: ArrayBufferView, offset: U64): number;
  sealedOpen(path: string): NativeHandle;
  mappedSize(handle: NativeHandle): number;
  mappedBytes(handle: NativeHandle, offset: U64, into: ArrayBufferView): void;
  /** 64-bit words as doubles; pages never written read as zeros and stay unallocated. */
  mappedDoubles(handle: NativeHandle, offset: U64, into: Float64Array): void;

  // host-file.cc
  /** fallocate(2), inside the file only. */
  filePunchHole(fd: number, offsetBytes: U64, lengthBytes: U64): void;
  fileZeroRange(fd: number, offsetBytes: U64, lengthBytes: U64): void;
  /** An open file description lock, without waiting: whether it was got. */
  fileLock(fd: number, exclusive: boolean, offsetBytes: U64, lengthBytes: U64): boolean;
  /** Whether another open file description has any lock there. */
  fileLocked(fd: number, offsetBytes: U64, lengthBytes: U64): boolean;

  // fs-at.cc
  fsOpenat2(dirFd: number, path: ArrayBufferView, flags: number, mode: number, resolve: number): number;
  fsStatx(fd: number, name: ArrayBufferView | null, mask: number, into: ArrayBufferView): void;
  fsMkdirat(dirFd: number, name: ArrayBufferView, mode: number): void;
  fsMknodat(dirFd: number, name: ArrayBufferView, mode: number, major: number, minor: number): void;
  fsSymlinkat(target: ArrayBufferView, dirFd: number, name: ArrayBufferView): void;
  fsReadlinkat(fd: number, into: ArrayBufferView): number;
  fsLinkat(fd: number, dirFd: number, name: ArrayBufferView): void;
  fsUnlinkat(dirFd: number, name: ArrayBufferView, directory: boolean): void;
  fsRenameat2(fromDirFd: number, from: ArrayBufferView, toDirFd: number, to: ArrayBufferView, flags: number): void;
  fsFchmod(fd: number, mode: number): void;
  fsFchownat(fd: number, uid: number, gid: number): void;
  fsUtimensat(fd: number, atimeSec: U64, atimeNsec: number, mtimeSec: U64, mtimeNsec: number): void;
  fsGetdents64(fd: number, offset: U64 | null, into: ArrayBufferView): number;
  fsGetxattr(fd: number, name: ArrayBufferView, into: ArrayBufferView): number;
  fsListxattr(fd: number, into: ArrayBufferView): number;
  fsSetxattr(fd: number, name: ArrayBufferView, value: ArrayBufferView, flags: number): void;
  fsRemovexattr(fd: number, name: ArrayBufferView): void;
  /** type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen */
  fsFstatfs(fd: number): [bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint];

  // net.cc
  /** A pseudo-terminal in raw mode: both sides, and the path of the second. */
  ptyOpen(): [master: NativeHandle, slave: NativeHandle, path: string];
  tapOpen(name: string, flags: number, vnetHeaderBytes: number, offload: number): [NativeHandle, string];
  tapSetOffload(handle: NativeHandle, offload: number): void;
  socketPair(packets: boolean): [NativeHandle, NativeHandle];
  socketConnect(path: string, packets: boolean): NativeHandle;
  socketListen(path: string, packets: boolean, mode: number): NativeHandle;
  socketAccept(listener: NativeHandle): NativeHandle | null;
  socketSend(socket: NativeHandle, bytes: ArrayBufferView, ...handles: NativeHandle[]): number;
  /** Descriptors that came along are pushed to `handles`. */
  socketReceive(socket: NativeHandle, into: ArrayBufferView, handles: NativeHandle[]): number;
  socketShutdownWrite(socket: NativeHandle): void;
  tapWriteAll(tap: NativeHandle, frames: readonly ArrayBufferView[], count: number): number;
  tapReadAll(tap: NativeHandle, into: ArrayBufferView, lengths: Int32Array, mostBytes: number): number;
  streamRead(handle: NativeHandle, into: ArrayBufferView): number;
  streamWrite(handle: NativeHandle, bytes: ArrayBufferView): number;
}
