/** Every theme, in the order in which they are reported. To add one, add a line. */
import "./capabilities.js";
import "./port-io.js";
