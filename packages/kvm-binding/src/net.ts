import { IFF_NO_PI, IFF_TAP, IFF_VNET_HDR } from "./generated/system-constants.js";
import { Handle, Kind, made, SharableHandle } from "./handle.js";
import { native } from "./load-native.js";
import type { NativeHandle } from "./native.d.ts";

/** A tap: an Ethernet interface of the host whose other end is here. Non-blocking; one read or write is one frame. */
export class Tap extends SharableHandle {
  /** The interface's name. */
  readonly name: string;

  private constructor(handle: NativeHandle, name: string) {
    super(handle, made);
    this.name = name;
  }

  /**
   * TUNSETIFF on /dev/net/tun.
   * @param o.name at most 15 bytes; "tap%d" or nothing lets the kernel number it
   * @param o.vnetHeaderBytes a virtio-net header of 10 or 12 bytes before each frame; 0 none
   * @param o.offload TUN_F_*: what of checksums and segmentation the reader takes on
   * @throws KvmError EPERM without CAP_NET_ADMIN, EBUSY when somebody has it
   */
  static open(o: { name?: string; vnetHeaderBytes?: 0 | 10 | 12; offload?: number } = {}): Tap {
    const header = o.vnetHeaderBytes ?? 0;
    const flags = IFF_TAP | IFF_NO_PI | (header > 0 ? IFF_VNET_HDR : 0);
    const [handle, name] = native.tapOpen(o.name ?? "", flags, header, o.offload ?? 0);
    return new Tap(handle, name);
  }

  static attach(token: number, name: string): Tap {
    return new Tap(native.attach(token, Kind.tap), name);
  }

  /** TUNSETOFFLOAD: what of checksums and segmentation the reader takes on from now on (TUN_F_*). @throws KvmError EINVAL for what the kernel has not */
  setOffload(offload: number): void {
    native.tapSetOffload(this.native, offload);
  }

  /** One frame into `into`: its bytes, or -EAGAIN. To and from guest memory: GuestMemory.readv and writev. */
  read(into: Uint8Array): number {
    return native.streamRead(this.native, into);
  }

  write(frame: Uint8Array): number {
    return native.streamWrite(this.native, frame);
  }

  /**
   * The frames that have come, one behind the other.
   * @param lengths takes the bytes of each
   * @param mostBytes what a frame may have: longer ones are cut off, and no more are read when so much has no room
   * @returns how many; 0 when none has come
   */
  readAll(into: Uint8Array, lengths: Int32Array, mostBytes: number): number {
    return native.tapReadAll(this.native, into, lengths, mostBytes);
  }

  /**
   * Writes frames in their order, each whatever became of the others.
   * @returns 0, or minus the errno of the last one that was not taken: EIO when the interface is down
   */
  writeAll(frames: readonly Uint8Array[]): number {
    return native.tapWriteAll(this.native, frames, frames.length);
  }
}

/** A descriptor that arrived over a socket. Adopt it as what it is (EventFd.adopt), then close it. */
export class ReceivedFd extends Handle {}

/** A unix socket, non-blocking, that can carry descriptors (unix(7), SCM_RIGHTS). */
export class UnixSocket extends SharableHandle {
  /** Two connected sockets. @param o.packets SOCK_SEQPACKET: messages keep their bounds */
  static pair(o: { packets?: boolean } = {}): [UnixSocket, UnixSocket] {
    const [a, b] = native.socketPair(o.packets ?? false);
    return [new UnixSocket(a, made), new UnixSocket(b, made)];
  }

  static connect(path: string, o: { packets?: boolean } = {}): UnixSocket {
    return new UnixSocket(native.socketConnect(path, o.packets ?? false), made);
  }

  static attach(token: number): UnixSocket {
    return new UnixSocket(native.attach(token, Kind.socket), made);
  }

  /** Bytes sent, or -EAGAIN. At most 64 handles go with them; the receiver gets duplicates. */
  send(bytes: Uint8Array, handles: readonly Handle[] = []): number {
    return native.socketSend(this.native, bytes, ...handles.map((h) => h.native));
  }

  /** Bytes received, 0 at the end, or -EAGAIN; descriptors that came along are pushed to `handles`. */
  receive(into: Uint8Array, handles: ReceivedFd[] = []): number {
    const received: NativeHandle[] = [];
    const length = native.socketReceive(this.native, into, received);
    for (const handle of received) handles.push(new ReceivedFd(handle, made));
    return length;
  }

  /** shutdown(2), SHUT_WR: the peer reads what was sent, and then the end. @throws KvmError ENOTCONN */
  shutdownWrite(): void {
    native.socketShutdownWrite(this.native);
  }
}

/** A listening unix socket. The file stays when it is closed: remove it. */
export class UnixListener extends Handle {
  /** @param o.mode of the socket file, by default 0600: only this user may connect */
  static listen(path: string, o: { packets?: boolean; mode?: number } = {}): UnixListener {
    return new UnixListener(native.socketListen(path, o.packets ?? false, o.mode ?? 0o600), made);
  }

  /** Who waits, or null. */
  accept(): UnixSocket | null {
    const handle = native.socketAccept(this.native);
    return handle === null ? null : new UnixSocket(handle, made);
  }
}
