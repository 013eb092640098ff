/** The PCI host bridge (ACPI 6.5, sections 6.2 and 6.5; PCI Firmware Specification 3.3, section 4). */
import {
  arg,
  createDwordField,
  device,
  dwordMemory,
  eisaId,
  elseThen,
  equal,
  ifThen,
  integer,
  ioPorts,
  method,
  name,
  not,
  or,
  packageOf,
  qwordMemory,
  reference,
  resourceTemplate,
  returns,
  uuid,
  wordBusNumber,
  wordIo,
} from "../aml/index.js";
import { PCI_CONFIG_PORTS, PCI_DEVICES_PER_BUS, PCI_INTERRUPT_PINS, type PciHost } from "../machine.js";

const PCI_EXPRESS_ROOT = "PNP0A08";
const PCI_ROOT = "PNP0A03";

export function pciHost(pci: PciHost): Uint8Array {
  return device(
    "PCI0",
    name("_HID", eisaId(PCI_EXPRESS_ROOT)),
    name("_CID", eisaId(PCI_ROOT)),
    name("_UID", integer(0)),
    name("_SEG", integer(0)),
    name("_BBN", integer(pci.buses.first)),
    name("_CRS", resources(pci)),
    name("_PRT", routing(pci.intxGsis)),
    operatingSystemCapabilities(),
  );
}

function resources({ buses, io, memory32, memory64 }: PciHost): Uint8Array {
  return resourceTemplate(
    wordBusNumber(buses.first, buses.last),
    ioPorts(PCI_CONFIG_PORTS.base, PCI_CONFIG_PORTS.sizeBytes),
    ...io.map(wordIo),
    ...memory32.map(dwordMemory),
    ...memory64.map((window) => qwordMemory({ ...window, prefetchable: true })),
  );
}

/** All functions of a device, in the address field of a routing entry (ACPI 6.5, section 6.2.13). */
const ANY_FUNCTION = 0xffff;

function routing(intxGsis: PciHost["intxGsis"]): Uint8Array {
  const entries: Uint8Array[] = [];
  for (let slot = 0; slot < PCI_DEVICES_PER_BUS; slot++) {
    for (let pin = 0; pin < PCI_INTERRUPT_PINS; pin++) {
      const gsi = intxGsis[(slot + pin) % PCI_INTERRUPT_PINS]!;
      const address = slot * 2 ** 16 + ANY_FUNCTION;
      // No link device: the source index is the GSI itself.
      entries.push(packageOf(integer(address), integer(pin), integer(0), integer(gsi)));
    }
  }
  return packageOf(...entries);
}

/** `_OSC` of a PCI host bridge (PCI Firmware Specification 3.3, section 4.5.1). */
const PCI_HOST_UUID = "33db4d5b-1ff7-401c-9657-7441c03dd766";
const OSC_REVISION = 1;
/** In the first word: what was wrong with the call. */
const UNRECOGNIZED_UUID = 1 << 2;
const UNRECOGNIZED_REVISION = 1 << 3;

/**
 * Gives the guest control of every feature it asks for: there is no firmware that would keep any for itself. So the words
 * are returned as they came, but for the error bits of the first.
 */
function operatingSystemCapabilities(): Uint8Array {
  const [uuidGiven, revisionGiven, capabilities] = [arg(0), arg(1), arg(3)];
  const status = reference("CDW1");
  const fail = (bit: number) => or(status, integer(bit), status);
  return method(
    "_OSC",
    { args: 4, serialized: true },
    createDwordField(capabilities, integer(0), "CDW1"),
    ifThen(
      equal(uuidGiven, uuid(PCI_HOST_UUID)),
      ifThen(not(equal(revisionGiven, integer(OSC_REVISION))), fail(UNRECOGNIZED_REVISION)),
    ),
    elseThen(fail(UNRECOGNIZED_UUID)),
    returns(capabilities),
  );
}
