/** A chain is a 9P message and the room for its answer. */
import type { NinePServer } from "../../../share/server.js";
import type { VirtioBackend } from "../../device.js";
import type { DescriptorChain } from "../../virtqueue.js";

export class ShareBackend implements VirtioBackend {
  constructor(readonly server: NinePServer) {}

  handle(_queue: number, { readable, writable }: DescriptorChain): number {
    return this.server.handlev(readable, writable);
  }

  close(): void {
    this.server.close();
  }
}
