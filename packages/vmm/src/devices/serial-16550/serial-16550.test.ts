import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import { FCR, IER, IIR, LCR_DLAB, LSR, MCR, MSR, serial16550, UART } from "./serial-16550.js";

const FIFO_TRIGGER_8 = 0x80;
const IDLE = LSR.THRE | LSR.TEMT;

/** A UART whose interrupt line is switched through and whose FIFOs are on. */
function opened(ier = 0, fcr: number = FCR.ENABLE): Bench<typeof serial16550.state> {
  const bench = new Bench(serial16550);
  bench.write(UART.IIR_FCR, fcr);
  bench.write(UART.MCR, MCR.DTR | MCR.RTS | MCR.OUT2);
  bench.write(UART.IER, ier);
  return bench;
}

const interruptOf = (bench: Bench<typeof serial16550.state>): number => bench.read(UART.IIR_FCR) & 0x0f;

describe("the transmitter", () => {
  it("sends a byte at once and stays ready", () => {
    const bench = opened();
    for (const char of "hello") bench.write(UART.RBR_THR, char.charCodeAt(0));
    expect(bench.port.text).toBe("hello");
    expect(bench.read(UART.LSR)).toBe(IDLE);
  });

  it("clears THRE while its output is full, and raises it again when the output has drained", () => {
    const bench = opened(IER.ETBEI);
    bench.read(UART.IIR_FCR);
    bench.port.outputRoom = 1;
    bench.write(UART.RBR_THR, 0x41);
    expect(bench.read(UART.LSR) & IDLE).toBe(0);
    expect(bench.port.irq).toBe(0);
    bench.drainOutput();
    expect(bench.port.irq).toBe(1);
    expect(interruptOf(bench)).toBe(IIR.TRANSMITTER_EMPTY);
    expect(bench.read(UART.LSR)).toBe(IDLE);
  });

  it("takes its interrupt back when a byte is written that the output has no room for", () => {
    const bench = opened(IER.ETBEI);
    expect(bench.port.irq).toBe(1);
    bench.port.outputRoom = 0;
    bench.write(UART.RBR_THR, 0x41);
    expect(bench.port.irq).toBe(0);
  });

  it("shows a polling guest that there is room again, even before it is told of it", () => {
    const bench = opened();
    bench.port.outputRoom = 0;
    expect(bench.read(UART.LSR)).toBe(0);
    bench.port.outputRoom = 5;
    expect(bench.read(UART.LSR)).toBe(IDLE);
  });

  it("keeps a whole FIFO of bytes that the output did not take, in order", () => {
    const bench = opened();
    bench.port.outputRoom = 2;
    for (let i = 0; i < 18; i++) bench.write(UART.RBR_THR, 0x61 + i);
    bench.drainOutput();
    expect(bench.port.text).toBe("abcdefghijklmnopqr");
  });

  it("drops what exceeds the FIFO when the guest does not wait for THRE", () => {
    const bench = opened();
    bench.port.outputRoom = 0;
    for (let i = 0; i < 20; i++) bench.write(UART.RBR_THR, 0x61 + i);
    bench.drainOutput();
    expect(bench.port.text).toBe("abcdefghijklmnop");
  });

  it("does not lose bytes on their way when the guest clears the FIFOs or resets the machine", () => {
    const bench = opened();
    bench.port.outputRoom = 0;
    bench.write(UART.RBR_THR, 0x61);
    bench.write(UART.IIR_FCR, FCR.ENABLE | FCR.CLEAR_TX | FCR.CLEAR_RX);
    bench.write(UART.IIR_FCR, 0);
    bench.device.reset();
    expect(bench.read(UART.LSR)).toBe(0);
    bench.drainOutput();
    expect(bench.port.text).toBe("a");
    expect(bench.read(UART.LSR)).toBe(IDLE);
  });

  it("loses nothing to a guest that fills the FIFO whenever THRE is set, however slow the output is", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 20 }), { maxLength: 60 }), (drains) => {
        const bench = opened();
        bench.port.outputRoom = 0;
        let written = 0;
        for (const room of [...drains, 1e9]) {
          bench.drainOutput(room);
          if ((bench.read(UART.LSR) & LSR.THRE) === 0) continue;
          for (let i = 0; i < 16; i++) bench.write(UART.RBR_THR, written++ & 0xff);
        }
        bench.drainOutput();
        expect(bench.port.emitted).toEqual(Array.from({ length: written }, (_, i) => i & 0xff));
      }),
    );
  });
});

describe("the receiver", () => {
  it("hands over bytes in order and says when there are none", () => {
    const bench = opened();
    for (const byte of [1, 2, 3]) expect(bench.receive(byte)).toBe(true);
    expect(bench.read(UART.LSR) & LSR.DR).toBe(LSR.DR);
    expect([bench.read(UART.RBR_THR), bench.read(UART.RBR_THR), bench.read(UART.RBR_THR)]).toEqual([1, 2, 3]);
    expect(bench.read(UART.LSR) & LSR.DR).toBe(0);
    expect(bench.read(UART.RBR_THR)).toBe(0);
  });

  it("refuses a byte that its FIFO of 16 has no room for", () => {
    const bench = opened();
    for (let i = 0; i < 16; i++) expect(bench.receive(i)).toBe(true);
    expect(bench.receive(16)).toBe(false);
    expect(bench.read(UART.RBR_THR)).toBe(0);
    expect(bench.receive(16)).toBe(true);
    expect(bench.read(UART.LSR) & LSR.OE).toBe(0);
  });

  it("holds a single byte while the FIFOs are off", () => {
    const bench = opened(0, 0);
    expect(bench.receive(1)).toBe(true);
    expect(bench.receive(2)).toBe(false);
  });

  it("keeps what it received when the guest sets another trigger level", () => {
    const bench = opened();
    bench.receive(1);
    bench.write(UART.IIR_FCR, FCR.ENABLE | FIFO_TRIGGER_8);
    expect(bench.read(UART.RBR_THR)).toBe(1);
  });

  it("still holds what waits to be sent after a reset, and is not ready until it is gone", () => {
    const bench = opened();
    bench.port.outputRoom = 0;
    bench.write(UART.RBR_THR, 0x61);
    bench.device.reset();
    bench.write(UART.IER, IER.ETBEI);
    expect(bench.state.threPending).toBe(0);
  });

  it("reports a single byte as received data while the FIFOs are off", () => {
    const bench = opened(IER.ERBFI, 0);
    bench.receive(1);
    expect(bench.read(UART.IIR_FCR)).toBe(IIR.RECEIVED_DATA);
  });

  it("forgets what it received when the guest clears the FIFO or switches the FIFOs", () => {
    const bench = opened();
    bench.receive(1);
    bench.write(UART.IIR_FCR, FCR.ENABLE | FCR.CLEAR_RX);
    expect(bench.read(UART.LSR) & LSR.DR).toBe(0);
    bench.receive(2);
    bench.write(UART.IIR_FCR, 0);
    expect(bench.read(UART.LSR) & LSR.DR).toBe(0);
  });
});

describe("interrupts", () => {
  it("reports received data from the trigger level on, and what is below it as a time-out", () => {
    const bench = opened(IER.ERBFI, FCR.ENABLE | FIFO_TRIGGER_8);
    for (let i = 0; i < 7; i++) bench.receive(i);
    expect(bench.port.irq).toBe(1);
    expect(interruptOf(bench)).toBe(IIR.CHARACTER_TIMEOUT);
    bench.receive(7);
    expect(interruptOf(bench)).toBe(IIR.RECEIVED_DATA);
    for (let i = 0; i < 8; i++) bench.read(UART.RBR_THR);
    expect(interruptOf(bench)).toBe(IIR.NONE);
    expect(bench.port.irq).toBe(0);
  });

  it("raises the transmitter's at once when it is enabled while the transmitter is empty", () => {
    const bench = opened();
    bench.write(UART.IER, IER.ETBEI);
    expect(bench.port.irq).toBe(1);
    expect(interruptOf(bench)).toBe(IIR.TRANSMITTER_EMPTY);
  });

  it("is not raised again by enabling what is enabled already, but by switching it off and on", () => {
    const bench = opened(IER.ETBEI);
    bench.read(UART.IIR_FCR);
    bench.write(UART.IER, IER.ETBEI);
    expect(interruptOf(bench)).toBe(IIR.NONE);
    bench.write(UART.IER, 0);
    bench.write(UART.IER, IER.ETBEI);
    expect(interruptOf(bench)).toBe(IIR.TRANSMITTER_EMPTY);
  });

  it("acknowledges the transmitter's by reading IIR, and raises it again after the next byte", () => {
    const bench = opened(IER.ETBEI);
    expect(interruptOf(bench)).toBe(IIR.TRANSMITTER_EMPTY);
    expect(bench.port.irq).toBe(0);
    expect(interruptOf(bench)).toBe(IIR.NONE);
    bench.write(UART.RBR_THR, 0x41);
    expect(bench.port.irq).toBe(1);
  });

  it("shows the most urgent first, and reading IIR for it leaves the transmitter's pending", () => {
    const bench = opened(IER.ERBFI | IER.ETBEI | IER.ELSI | IER.EDSSI);
    bench.write(UART.MCR, MCR.OUT2 | MCR.LOOP);
    for (let i = 0; i < 17; i++) bench.write(UART.RBR_THR, i);
    bench.write(UART.MCR, MCR.OUT2);
    expect(interruptOf(bench)).toBe(IIR.LINE_STATUS);
    expect(bench.read(UART.LSR) & LSR.OE).toBe(LSR.OE);
    expect(interruptOf(bench)).toBe(IIR.RECEIVED_DATA);
    for (let i = 0; i < 16; i++) expect(bench.read(UART.RBR_THR)).toBe(i);
    expect(interruptOf(bench)).toBe(IIR.TRANSMITTER_EMPTY);
    expect(interruptOf(bench)).toBe(IIR.MODEM_STATUS);
    bench.read(UART.MSR);
    expect(interruptOf(bench)).toBe(IIR.NONE);
  });

  it("reaches the line only through OUT2", () => {
    const bench = opened(IER.ERBFI);
    bench.write(UART.MCR, 0);
    bench.receive(1);
    expect(bench.port.irq).toBe(0);
    bench.write(UART.MCR, MCR.OUT2);
    expect(bench.port.irq).toBe(1);
    bench.write(UART.MCR, MCR.OUT2 | MCR.LOOP);
    expect(bench.port.irq).toBe(0);
  });

  it("tells by IIR that the FIFOs are on", () => {
    const bench = opened();
    expect(bench.read(UART.IIR_FCR)).toBe(IIR.FIFOS_ENABLED | IIR.NONE);
    bench.write(UART.IIR_FCR, 0);
    expect(bench.read(UART.IIR_FCR)).toBe(IIR.NONE);
  });
});

describe("loopback", () => {
  it("turns what is sent into what is received and sends nothing", () => {
    const bench = opened();
    bench.write(UART.MCR, MCR.LOOP);
    bench.write(UART.RBR_THR, 0x5a);
    expect(bench.read(UART.RBR_THR)).toBe(0x5a);
    expect(bench.port.emitted).toEqual([]);
  });

  it("keeps the outside waiting", () => {
    const bench = opened();
    bench.write(UART.MCR, MCR.LOOP);
    expect(bench.receive(1)).toBe(false);
  });

  it("connects RTS, DTR, OUT1 and OUT2 to CTS, DSR, RI and DCD", () => {
    const bench = opened();
    const lines = [
      [MCR.RTS, MSR.CTS],
      [MCR.DTR, MSR.DSR],
      [MCR.OUT1, MSR.RI],
      [MCR.OUT2, MSR.DCD],
    ] as const;
    for (const [output, input] of lines) {
      bench.write(UART.MCR, MCR.LOOP | output);
      expect(bench.read(UART.MSR) & 0xf0).toBe(input);
    }
  });

  it("notes each line's change until it is read, and of the ring indicator only the end", () => {
    const bench = opened();
    bench.write(UART.MCR, MCR.LOOP);
    bench.read(UART.MSR);
    bench.write(UART.MCR, MCR.LOOP | MCR.OUT1);
    expect(bench.read(UART.MSR)).toBe(MSR.RI);
    bench.write(UART.MCR, MCR.LOOP | MCR.RTS);
    expect(bench.read(UART.MSR)).toBe(MSR.CTS | MSR.TERI | MSR.DCTS);
    expect(bench.read(UART.MSR)).toBe(MSR.CTS);
  });

  it("overwrites the unread byte when the FIFOs are off, and says so", () => {
    const bench = opened(0, 0);
    bench.write(UART.MCR, MCR.LOOP);
    bench.write(UART.RBR_THR, 1);
    bench.write(UART.RBR_THR, 2);
    expect(bench.read(UART.LSR) & LSR.OE).toBe(LSR.OE);
    expect(bench.read(UART.LSR) & LSR.OE).toBe(0);
    expect(bench.read(UART.RBR_THR)).toBe(2);
  });
});

describe("the other registers", () => {
  it("are as the datasheet's reset table says", () => {
    const bench = new Bench(serial16550);
    expect(bench.read(UART.IER)).toBe(0);
    expect(bench.read(UART.IIR_FCR)).toBe(IIR.NONE);
    expect(bench.read(UART.LCR)).toBe(0);
    expect(bench.read(UART.MCR)).toBe(0);
    expect(bench.read(UART.LSR)).toBe(IDLE);
    expect(bench.read(UART.MSR)).toBe(MSR.CTS | MSR.DSR | MSR.DCD);
  });

  it("show the divisor latch in place of data and IER while DLAB is set", () => {
    const bench = opened(IER.ERBFI);
    bench.write(UART.LCR, LCR_DLAB | 0x03);
    bench.write(UART.RBR_THR, 0x34);
    bench.write(UART.IER, 0x12);
    expect([bench.read(UART.RBR_THR), bench.read(UART.IER)]).toEqual([0x34, 0x12]);
    bench.write(UART.LCR, 0x03);
    expect(bench.read(UART.IER)).toBe(IER.ERBFI);
    expect(bench.port.emitted).toEqual([]);
  });

  it("keep a byte for the guest in the scratch register", () => {
    const bench = new Bench(serial16550);
    bench.write(UART.SCR, 0xa5);
    expect(bench.read(UART.SCR)).toBe(0xa5);
  });

  it("have the bits that do not exist at zero", () => {
    const bench = new Bench(serial16550);
    bench.write(UART.IER, 0xf0);
    bench.write(UART.MCR, 0xe0);
    expect([bench.read(UART.IER), bench.read(UART.MCR)]).toEqual([0, 0]);
  });

  it("ignore writes to LSR and MSR", () => {
    const bench = new Bench(serial16550);
    bench.write(UART.LSR, 0);
    bench.write(UART.MSR, 0);
    expect([bench.read(UART.LSR), bench.read(UART.MSR)]).toEqual([IDLE, MSR.CTS | MSR.DSR | MSR.DCD]);
  });
});

it("survives whatever a guest does", () => exercise(serial16550, UART.SIZE_BYTES, { survivesReset: ["tx", "txBusy"] }));
