import { device, integer, name, string } from "../aml/index.js";
import { indexed } from "./names.js";

/** One device a CPU (ACPI 6.5, section 8.4). Its `_UID` is what the MADT calls the processor's UID: here, its APIC id. */
export function processors(apicIds: readonly number[]): Uint8Array[] {
  return apicIds.map((id, index) =>
    device(indexed("C", index), name("_HID", string("ACPI0007")), name("_UID", integer(id))),
  );
}
