/** The devices that a PC has had since ISA: serial ports, the clock, the keyboard. */
import { device, eisaId, integer, ioPorts, irqNoFlags, name, resourceTemplate } from "../aml/index.js";
import type { AcpiMachine } from "../machine.js";

const UART_16550 = "PNP0501";
const AT_RTC = "PNP0B00";
const AT_KEYBOARD = "PNP0303";

export function isaDevices({ serialPorts, rtc, keyboard }: AcpiMachine): Uint8Array[] {
  return [
    ...serialPorts.map(serialPort),
    ...(rtc === undefined ? [] : [clock(rtc)]),
    ...(keyboard === undefined ? [] : [keyboardController(keyboard)]),
  ];
}

function serialPort({ port, irq }: AcpiMachine["serialPorts"][number], index: number): Uint8Array {
  return device(
    `COM${index + 1}`,
    name("_HID", eisaId(UART_16550)),
    name("_UID", integer(index + 1)),
    name("_CRS", resourceTemplate(ioPorts(port, 8), irqNoFlags(irq))),
  );
}

function clock({ port, irq }: NonNullable<AcpiMachine["rtc"]>): Uint8Array {
  return device("RTC", name("_HID", eisaId(AT_RTC)), name("_CRS", resourceTemplate(ioPorts(port, 2), irqNoFlags(irq))));
}

function keyboardController({ dataPort, commandPort, irq }: NonNullable<AcpiMachine["keyboard"]>): Uint8Array {
  return device(
    "KBD",
    name("_HID", eisaId(AT_KEYBOARD)),
    name("_CRS", resourceTemplate(ioPorts(dataPort, 1), ioPorts(commandPort, 1), irqNoFlags(irq))),
  );
}
