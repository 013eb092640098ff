export { EMBEDDED_GUEST_PROMPT, EXIT_KINDS, type ExitKind, embeddedGuestPath } from "./embedded-guest.js";
export { EXERCISER_BASE, EXERCISER_ID, EXERCISER_MSR, EXERCISER_REGISTER } from "./exerciser.js";
