import { exitReasonNames } from "@tools-kvm/kvm-binding";

/** An exit reason as linux/kvm.h names it, without its prefix; a number that has no name stays a number. */
export function exitReasonName(reason: number): string {
  return exitReasonNames.get(reason) ?? `reason ${reason}`;
}
