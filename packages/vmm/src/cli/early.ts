/** What the command does before it has read itself: the first vCPU's thread comes up while the rest is loaded. */
import { prepareVcpuThread } from "../machine/vcpu-thread.js";

if (process.argv[2] === "run" || process.argv[2] === "sandbox") prepareVcpuThread();
