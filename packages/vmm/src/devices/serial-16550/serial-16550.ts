import { fifo, type Struct, u8, u16 } from "../../state/struct.js";
import { type DevicePort, defineDevice } from "../device.js";

// Section and table numbers are those of the TI PC16550D datasheet (SNLS378C), "8 Registers".

/** Offsets in the register file. With DLAB set, 0 and 1 are the divisor latch (table 2). */
export const UART = { RBR_THR: 0, IER: 1, IIR_FCR: 2, LCR: 3, MCR: 4, LSR: 5, MSR: 6, SCR: 7, SIZE_BYTES: 8 } as const;

/** Interrupt enable register (8.8): received data, transmitter empty, line status, modem status. */
export const IER = { ERBFI: 0x01, ETBEI: 0x02, ELSI: 0x04, EDSSI: 0x08 } as const;

/** Interrupt identification (8.7, table 5), in the order of priority; and "the FIFOs are on". */
export const IIR = {
  NONE: 0x01,
  LINE_STATUS: 0x06,
  RECEIVED_DATA: 0x04,
  CHARACTER_TIMEOUT: 0x0c,
  TRANSMITTER_EMPTY: 0x02,
  MODEM_STATUS: 0x00,
  FIFOS_ENABLED: 0xc0,
} as const;

/** FIFO control register (8.6). */
export const FCR = { ENABLE: 0x01, CLEAR_RX: 0x02, CLEAR_TX: 0x04, TRIGGER_SHIFT: 6 } as const;
const RX_TRIGGER_LENGTHS = [1, 4, 8, 14] as const;

export const LCR_DLAB = 0x80;

/** Modem control register (8.9). */
export const MCR = { DTR: 0x01, RTS: 0x02, OUT1: 0x04, OUT2: 0x08, LOOP: 0x10 } as const;

/** Line status register (8.5). Parity, framing and break never happen on this line. */
export const LSR = { DR: 0x01, OE: 0x02, THRE: 0x20, TEMT: 0x40 } as const;

/** Modem status register (8.10): changes in the low half, the lines themselves in the high half. */
export const MSR = {
  DCTS: 0x01,
  DDSR: 0x02,
  TERI: 0x04,
  DDCD: 0x08,
  CTS: 0x10,
  DSR: 0x20,
  RI: 0x40,
  DCD: 0x80,
} as const;
/** Somebody is always there: the far end is a terminal, a file or a log that stays connected. */
const CONNECTED = MSR.CTS | MSR.DSR | MSR.DCD;

const FIFO_BYTES = 16;
/** 9600 baud of the usual 1.8432 MHz crystal, which is what firmware would leave behind. */
const DEFAULT_DIVISOR = 12;

const fields = {
  ier: u8,
  fcr: u8,
  lcr: u8,
  mcr: u8,
  msr: u8,
  scr: u8,
  divisor: u16,
  /** LSR.OE, until the guest reads it. */
  overrun: u8,
  /** THRE is the only interrupt source that is an event and not a state: 1 until acknowledged (table 5). */
  threPending: u8,
  /** 1 while the transmitter waits for the output: THRE and TEMT are clear. */
  txBusy: u8,
  rx: fifo(FIFO_BYTES),
  tx: fifo(FIFO_BYTES),
};
type State = Struct<typeof fields>;

const fifosEnabled = (state: State): boolean => (state.fcr & FCR.ENABLE) !== 0;
const loopback = (state: State): boolean => (state.mcr & MCR.LOOP) !== 0;

function interruptId(state: State): number {
  if ((state.ier & IER.ELSI) !== 0 && state.overrun !== 0) return IIR.LINE_STATUS;
  if ((state.ier & IER.ERBFI) !== 0 && state.rx.length > 0) {
    // With the FIFOs off FCR is zero, and so is the trigger level's field: one byte.
    const trigger = RX_TRIGGER_LENGTHS[state.fcr >> FCR.TRIGGER_SHIFT]!;
    return state.rx.length >= trigger ? IIR.RECEIVED_DATA : IIR.CHARACTER_TIMEOUT;
  }
  if ((state.ier & IER.ETBEI) !== 0 && state.threPending !== 0) return IIR.TRANSMITTER_EMPTY;
  if ((state.ier & IER.EDSSI) !== 0 && (state.msr & (MSR.DCTS | MSR.DDSR | MSR.TERI | MSR.DDCD)) !== 0) {
    return IIR.MODEM_STATUS;
  }
  return IIR.NONE;
}

/** On a PC the OUT2 pin switches the interrupt line through, and loopback holds that pin inactive (8.9). */
function updateIrq(state: State, port: DevicePort): void {
  const connected = (state.mcr & (MCR.OUT2 | MCR.LOOP)) === MCR.OUT2;
  port.setIrq(connected && interruptId(state) !== IIR.NONE ? 1 : 0);
}

/** Brings the modem lines up to date and notes what changed since the guest last looked. */
function updateModemLines(state: State): void {
  let lines: number = CONNECTED;
  if (loopback(state)) {
    lines = 0;
    if ((state.mcr & MCR.RTS) !== 0) lines |= MSR.CTS;
    if ((state.mcr & MCR.DTR) !== 0) lines |= MSR.DSR;
    if ((state.mcr & MCR.OUT1) !== 0) lines |= MSR.RI;
    if ((state.mcr & MCR.OUT2) !== 0) lines |= MSR.DCD;
  }
  const changed = (state.msr ^ lines) & 0xf0;
  // Each change flag stands four bits below its line; the ring indicator reports only its trailing edge.
  const deltas = (changed >> 4) & ~(lines & MSR.RI ? MSR.TERI : 0);
  state.msr = lines | (state.msr & 0x0f) | deltas;
}

/** Moves what waits in the transmit FIFO to the output, and notes whether the transmitter is ready afterwards. */
function transmit(state: State, port: DevicePort): void {
  while (state.tx.length > 0 && port.emit(state.tx.peek())) state.tx.shift();
  const busy = state.tx.length > 0 || !port.outputReady() ? 1 : 0;
  if (state.txBusy !== 0 && busy === 0) state.threPending = 1;
  state.txBusy = busy;
}

function writeThr(state: State, byte: number, port: DevicePort): void {
  state.threPending = 0;
  if (loopback(state)) {
    receiveLooped(state, byte);
    state.threPending = 1;
  } else {
    // A guest that waits for THRE finds the FIFO empty. One that does not loses what exceeds the FIFO, as on hardware.
    if (state.tx.length > 0 || !port.emit(byte)) state.tx.push(byte);
    state.txBusy = 1;
    transmit(state, port);
  }
}

/** With the FIFOs on, an overrun drops the newest byte; without them, it overwrites the one unread (8.5, bit 1). */
function receiveLooped(state: State, byte: number): void {
  const capacity = fifosEnabled(state) ? FIFO_BYTES : 1;
  if (state.rx.length < capacity) {
    state.rx.push(byte);
    return;
  }
  state.overrun = 1;
  if (capacity === 1) {
    state.rx.clear();
    state.rx.push(byte);
  }
}

/**
 * With bit 0 clear the others are not programmed; changing bit 0 empties the FIFOs (8.6). The transmit FIFO is never
 * emptied: it holds only what a slow output has not taken yet, which a real line would have sent long ago.
 */
function writeFcr(state: State, value: number): void {
  const toggled = ((state.fcr ^ value) & FCR.ENABLE) !== 0;
  const enabled = (value & FCR.ENABLE) !== 0;
  if (toggled || (enabled && (value & FCR.CLEAR_RX) !== 0)) state.rx.clear();
  state.fcr = enabled ? value & 0xc1 : 0;
}

function readLsr(state: State, port: DevicePort): number {
  // A guest that polls learns of room in the output here, even before the machine says so.
  if (state.txBusy !== 0 || !port.outputReady()) transmit(state, port);
  const dataReady = state.rx.length > 0 ? LSR.DR : 0;
  const overrun = state.overrun !== 0 ? LSR.OE : 0;
  const transmitter = state.txBusy === 0 ? LSR.THRE | LSR.TEMT : 0;
  state.overrun = 0;
  return dataReady | overrun | transmitter;
}

/**
 * A 16550A UART whose line is as fast as its output: a byte written is sent at once, unless the output is full; then
 * THRE stays clear and up to 16 bytes wait in the transmit FIFO. Input is never overrun: `receive` refuses a byte that
 * has no room. The character time-out has no timer: bytes below the trigger level are reported at once.
 */
export const serial16550 = defineDevice({
  name: "serial16550",
  state: fields,
  accessBytes: 1,
  reset(state, port) {
    state.ier = 0;
    state.fcr = 0;
    state.lcr = 0;
    state.mcr = 0;
    state.msr = CONNECTED;
    state.scr = 0;
    state.divisor = DEFAULT_DIVISOR;
    state.overrun = 0;
    state.threPending = 0;
    state.rx.clear();
    // The transmitter is left as it is: what was written before the reset still goes out.
    updateIrq(state, port);
  },
  read(state, offset, _sizeBytes, port) {
    const divisorLatch = (state.lcr & LCR_DLAB) !== 0;
    let value = 0;
    switch (offset) {
      case UART.RBR_THR:
        if (divisorLatch) return state.divisor & 0xff;
        value = Math.max(0, state.rx.shift());
        break;
      case UART.IER:
        return divisorLatch ? state.divisor >> 8 : state.ier;
      case UART.IIR_FCR: {
        const id = interruptId(state);
        // Reading the register acknowledges the transmitter's interrupt, if that is the one shown (table 5).
        if (id === IIR.TRANSMITTER_EMPTY) state.threPending = 0;
        value = id | (fifosEnabled(state) ? IIR.FIFOS_ENABLED : 0);
        break;
      }
      case UART.LCR:
        return state.lcr;
      case UART.MCR:
        return state.mcr;
      case UART.LSR:
        value = readLsr(state, port);
        break;
      case UART.MSR:
        value = state.msr;
        state.msr &= 0xf0;
        break;
      case UART.SCR:
        return state.scr;
    }
    updateIrq(state, port);
    return value;
  },
  write(state, offset, _sizeBytes, value, port) {
    const divisorLatch = (state.lcr & LCR_DLAB) !== 0;
    switch (offset) {
      case UART.RBR_THR:
        if (divisorLatch) state.divisor = (state.divisor & 0xff00) | value;
        else writeThr(state, value, port);
        break;
      case UART.IER: {
        if (divisorLatch) {
          state.divisor = (state.divisor & 0x00ff) | (value << 8);
          break;
        }
        // Enabling the transmitter's interrupt while the transmitter is empty raises it at once.
        if ((value & ~state.ier & IER.ETBEI) !== 0 && state.txBusy === 0) state.threPending = 1;
        state.ier = value & 0x0f;
        break;
      }
      case UART.IIR_FCR:
        writeFcr(state, value);
        break;
      case UART.LCR:
        state.lcr = value;
        break;
      case UART.MCR:
        state.mcr = value & 0x1f;
        updateModemLines(state);
        break;
      case UART.SCR:
        state.scr = value;
        break;
      // LSR and MSR are for reading; writing them is for factory tests (8.5, 8.10).
    }
    updateIrq(state, port);
  },
  receive(state, byte, port) {
    // In loopback the receiver is cut off from the line (8.9): what comes in waits outside.
    if (loopback(state) || state.rx.length >= (fifosEnabled(state) ? FIFO_BYTES : 1)) return false;
    state.rx.push(byte);
    updateIrq(state, port);
    return true;
  },
  outputDrained(state, port) {
    transmit(state, port);
    updateIrq(state, port);
  },
});
