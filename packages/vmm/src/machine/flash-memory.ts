/** The cells of a machine's flash chip: memory that the guest reads in place and cannot write, and the file it is saved to. */
import { writeSync } from "node:fs";
import { GuestMemory, type SharedGuestMemory, type Vm } from "@tools-kvm/kvm-binding";
import type { FlashCells } from "../devices/device.js";
import type { FlashContents } from "./firmware-rom.js";

/** On its way to a vCPU's thread. */
export interface SharedFlash {
  readonly memory: SharedGuestMemory;
  readonly base: number;
  readonly slot: number;
  readonly fd?: number;
}

export class FlashMemory implements FlashCells {
  readonly #memory: GuestMemory;
  readonly #about: Omit<SharedFlash, "memory">;
  #vm: Vm | undefined;
  readonly #onLog: (message: string) => void;

  private constructor(
    memory: GuestMemory,
    { base, slot, fd }: Omit<SharedFlash, "memory">,
    onLog: (message: string) => void,
  ) {
    this.#memory = memory;
    this.#about = { base, slot, fd };
    this.#onLog = onLog;
  }

  /** Cells with `contents` at guest address `base`. @param slot the memory slot that is theirs */
  static create(base: number, { bytes, fd }: FlashContents, slot: number): FlashMemory {
    const memory = GuestMemory.create({ sizeBytes: bytes.length, name: "tools-kvm-flash" });
    memory.bytes.set(bytes);
    return new FlashMemory(memory, { base, slot, fd }, () => {});
  }

  /** The same cells in another thread, which changes what the guest of `vm` sees of them. */
  static attach(shared: SharedFlash, vm: Vm, onLog: (message: string) => void): FlashMemory {
    const flash = new FlashMemory(GuestMemory.attach(shared.memory), shared, onLog);
    flash.#vm = vm;
    return flash;
  }

  share(): SharedFlash {
    return { memory: this.#memory.share(), ...this.#about };
  }

  /** Shows the cells to the guest of a new VM. */
  plug(vm: Vm): void {
    this.#vm = vm;
    this.expose(true);
  }

  get bytes(): Uint8Array {
    return this.#memory.bytes;
  }

  expose(exposed: boolean): void {
    const { slot, base } = this.#about;
    // A write to a slot that is only read comes to us, as a read where there is no slot does.
    if (exposed) this.#vm?.setUserMemoryRegion({ slot, guestPhysAddr: base, memory: this.#memory, readonly: true });
    else this.#vm?.setUserMemoryRegion({ slot, guestPhysAddr: base, memory: null });
  }

  save(offset: number, lengthBytes: number): boolean {
    const { fd } = this.#about;
    if (fd === undefined) return true;
    try {
      // A view on shared memory is copied, as Node writes from no other.
      const bytes = this.bytes.slice(offset, offset + lengthBytes);
      for (let done = 0; done < lengthBytes; ) done += writeSync(fd, bytes, done, lengthBytes - done, offset + done);
      return true;
    } catch (error) {
      this.#onLog(`flash: the variables could not be saved: ${(error as Error).message}`);
      return false;
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  close(): void {
    this.#memory.close();
  }
}
