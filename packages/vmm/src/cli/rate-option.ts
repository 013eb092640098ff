/** `bps=SIZE`, `burst=SECONDS` and `iops=N` or `pps=N` behind the commas of `--disk` and `--net`. */
import { parseSize } from "../machine/spec.js";
import type { RateLimitSpec } from "../virtio/rate-limit.js";

const MOST_BYTES_PER_SECOND = 2 ** 40;
const MOST_OPERATIONS_PER_SECOND = 1e9;
const MOST_BURST_SECONDS = 60;

/**
 * The limit that the options ask for; undefined when they ask for none.
 * @param given the values by their names; others are left alone
 * @param operations what an operation's rate is called here
 * @param refuse throws
 */
export function rateLimit(
  given: ReadonlyMap<string, string>,
  operations: "iops" | "pps",
  refuse: (why: string) => never,
): RateLimitSpec | undefined {
  const number = (key: string, read: (text: string) => number | undefined, most: number, form: string) => {
    const text = given.get(key);
    if (text === undefined) return undefined;
    const value = read(text);
    return value !== undefined && value > 0 && value <= most ? value : refuse(`${key}=${text}: ${form}`);
  };
  const bytesPerSecond = number("bps", bytes, MOST_BYTES_PER_SECOND, "bytes a second, such as 10M, up to 1T");
  const operationsPerSecond = number(
    operations,
    whole,
    MOST_OPERATIONS_PER_SECOND,
    "a whole number a second, up to 10^9",
  );
  const burstSeconds = number(
    "burst",
    decimal,
    MOST_BURST_SECONDS,
    `seconds, such as 0.5, up to ${MOST_BURST_SECONDS}`,
  );
  if (bytesPerSecond === undefined && operationsPerSecond === undefined) {
    return burstSeconds === undefined ? undefined : refuse(`burst without bps or ${operations} limits nothing`);
  }
  return { bytesPerSecond, operationsPerSecond, burstSeconds };
}

/** No unit means bytes. */
function bytes(text: string): number | undefined {
  return parseSize(/^\d+$/.test(text) ? `${text}B` : text);
}

function whole(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}

function decimal(text: string): number | undefined {
  return /^\d{1,3}(\.\d{1,6})?$/.test(text) ? Number(text) : undefined;
}
