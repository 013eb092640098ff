/** Whether KVM can be used here, and how a test says that it is skipped because it cannot. */
import { accessSync, constants } from "node:fs";

export const hasKvm = (() => {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
})();

/** For the title of a test that is skipped without KVM. */
export const NEEDS_KVM = hasKvm ? "" : " (needs /dev/kvm)";
