import { device, integer, ioPorts, name, resourceTemplate, string } from "../aml/index.js";

/** QEMU's identifier for it; there is no other. */
const PVPANIC = "QEMU0001";
/** Present, enabled, shown, working (ACPI 6.5, section 6.3.7): Linux's driver asks. */
const WORKING = 0x0f;

/** The port through which a kernel tells of its panic. */
export function panicDevice({ port }: { readonly port: number }): Uint8Array {
  return device(
    "PEVT",
    name("_HID", string(PVPANIC)),
    name("_STA", integer(WORKING)),
    name("_CRS", resourceTemplate(ioPorts(port, 1))),
  );
}
