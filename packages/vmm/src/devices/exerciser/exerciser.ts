import { EXERCISER_ID, EXERCISER_REGISTER } from "@tools-kvm/firmware";
import { u32 } from "../../state/struct.js";
import { defineDevice } from "../device.js";
import { extractBytes, mergeBytes } from "../register-file.js";

/** The register file, 4 KiB. What is not in EXERCISER_REGISTER reads as zero. */
export const EXERCISER_SIZE_BYTES = 0x1000;

/**
 * A device for measuring the ways out of a guest: registers that answer in the vCPU's own Worker, a zone whose writes
 * the kernel may gather (coalesced MMIO or PIO), and a doorbell that the kernel may turn into an eventfd. The counters
 * say how many writes reached this device, so a guest can tell which way its accesses went.
 */
export const exerciser = defineDevice({
  name: "exerciser",
  state: { scratch: u32, coalescedCount: u32, ioeventfdCount: u32 },
  accessBytes: 4,
  reset(state) {
    state.scratch = 0;
    state.coalescedCount = 0;
    state.ioeventfdCount = 0;
  },
  read(state, offset, sizeBytes) {
    switch (offset & ~3) {
      case EXERCISER_REGISTER.ID:
        return extractBytes(EXERCISER_ID, offset, sizeBytes);
      case EXERCISER_REGISTER.SCRATCH:
        return extractBytes(state.scratch, offset, sizeBytes);
      case EXERCISER_REGISTER.COALESCED_COUNT:
        return extractBytes(state.coalescedCount, offset, sizeBytes);
      case EXERCISER_REGISTER.IOEVENTFD_COUNT:
        return extractBytes(state.ioeventfdCount, offset, sizeBytes);
      default:
        return 0;
    }
  },
  write(state, offset, sizeBytes, value) {
    if (offset >= EXERCISER_REGISTER.IOEVENTFD) state.ioeventfdCount++;
    else if (offset >= EXERCISER_REGISTER.COALESCED) state.coalescedCount++;
    else if ((offset & ~3) === EXERCISER_REGISTER.SCRATCH)
      state.scratch = mergeBytes(state.scratch, offset, sizeBytes, value);
  },
});
