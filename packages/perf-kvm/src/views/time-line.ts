/** Where the time of the vCPUs went, in one line. */
import { addSplits, type TimeSplit } from "../model/time-split.js";
import { formatShare } from "./format.js";

/** Parts that would be shown as nothing. */
const TOO_SMALL = 0.0005;

/** `guest 61.2%, kernel 30.0%, ...` of these machines together; a `~` before what ticks tell. Empty when nothing is known. */
export function timeLine(splits: readonly TimeSplit[]): string {
  const [first, ...others] = splits;
  if (first === undefined) return "";
  const all = others.reduce(addSplits, first);
  const part = (name: string, ns: number | null, isRough = false): string[] => {
    const share = (ns ?? 0) / all.wallNs;
    return share < TOO_SMALL ? [] : [`${name} ${isRough ? "~" : ""}${formatShare(share)}`];
  };
  return [
    ...part("guest", all.guestNs, all.guestFrom === "ticks"),
    ...part("kernel", all.kernelNs, all.guestFrom === "ticks"),
    ...part("polling", all.pollingNs),
    ...part("user space", all.userNs, all.userFrom === "ticks"),
    ...part("device", all.deviceNs),
    ...part("asleep", all.asleepNs),
    ...part("queued", all.queuedNs),
  ].join(", ");
}
