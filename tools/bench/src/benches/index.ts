/** Every bench, in the order of the list. A new one is a file in this folder and a line here. */
import type { Bench } from "../bench.js";
import { blk } from "./blk.js";
import { exits } from "./exits.js";
import { firmware } from "./firmware.js";
import { ledger } from "./ledger.js";
import { linux } from "./linux.js";
import { memory } from "./memory.js";
import { net } from "./net.js";
import { perfKvm } from "./perf-kvm.js";
import { start } from "./start.js";

export const BENCHES: readonly Bench[] = [exits, ledger, start, firmware, memory, perfKvm, blk, net, linux];
