/** Every theme, in the order in which they are reported. To add one, add a line. */
import "./capabilities.js";
import "./lifecycle.js";
import "./port-io.js";
import "./mmio.js";
import "./coalesced.js";
import "./ioeventfd.js";
import "./memory-slots.js";
import "./dirty-log.js";
import "./irq-lines.js";
import "./pit.js";
import "./lapic.js";
import "./msrs.js";
import "./cpuid.js";
import "./registers.js";
