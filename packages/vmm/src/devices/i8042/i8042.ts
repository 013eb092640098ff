import { type Struct, u8 } from "../../state/struct.js";
import { type DevicePort, defineDevice } from "../device.js";
import { answerKeyboard, keyboardFields, queueCtrlAltDelete, resetKeyboard } from "./keyboard.js";

/** Offsets in the register file: data, and status when read or command when written. */
export const I8042 = { DATA: 0, STATUS_COMMAND: 4 } as const;

/** Status register (IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller"). */
export const STATUS = { OUTPUT_FULL: 0x01, SYSTEM: 0x04, COMMAND: 0x08, UNLOCKED: 0x10 } as const;

/** The controller's command byte. */
export const COMMAND_BYTE = {
  KEYBOARD_INTERRUPT: 0x01,
  SYSTEM: 0x04,
  KEYBOARD_DISABLED: 0x10,
  AUXILIARY_DISABLED: 0x20,
  TRANSLATE: 0x40,
} as const;
/** As firmware leaves it: interrupts on, scan codes translated to set 1. */
const COMMAND_BYTE_DEFAULT =
  COMMAND_BYTE.KEYBOARD_INTERRUPT | COMMAND_BYTE.SYSTEM | COMMAND_BYTE.AUXILIARY_DISABLED | COMMAND_BYTE.TRANSLATE;

/** Controller commands. Of the controller's RAM only its first byte, the command byte, can be reached. */
export const COMMAND = {
  READ_COMMAND_BYTE: 0x20,
  WRITE_COMMAND_BYTE: 0x60,
  DISABLE_AUXILIARY: 0xa7,
  ENABLE_AUXILIARY: 0xa8,
  TEST_AUXILIARY: 0xa9,
  SELF_TEST: 0xaa,
  TEST_KEYBOARD: 0xab,
  DISABLE_KEYBOARD: 0xad,
  ENABLE_KEYBOARD: 0xae,
  READ_INPUT_PORT: 0xc0,
  READ_OUTPUT_PORT: 0xd0,
  WRITE_OUTPUT_PORT: 0xd1,
  WRITE_KEYBOARD_BUFFER: 0xd2,
  WRITE_AUXILIARY_BUFFER: 0xd3,
  WRITE_AUXILIARY: 0xd4,
  READ_TEST_INPUTS: 0xe0,
  PULSE: 0xf0,
} as const;

const SELF_TEST_PASSED = 0x55;
const INTERFACE_GOOD = 0x00;
/** What a controller says whose auxiliary port has nothing behind it: the clock line is stuck low. */
const INTERFACE_CLOCK_LOW = 0x01;
/** Output port: not in reset, A20 on. A20 cannot be switched off here; the bit is only kept. */
const OUTPUT_PORT = { NOT_RESET: 0x01, A20: 0x02 } as const;
const INPUT_PORT_UNLOCKED = 0x80;

const fields = {
  commandByte: u8,
  outputPort: u8,
  outputBuffer: u8,
  outputFull: u8,
  /** STATUS.COMMAND: the last byte written came through the command port. */
  lastWasCommand: u8,
  /** The controller command that waits for its data byte; 0 when none. */
  pendingCommand: u8,
  ...keyboardFields,
};
type State = Struct<typeof fields>;

/** Moves the keyboard's next byte into the output buffer if it is free, and brings the interrupt line up to date. */
function update(state: State, port: DevicePort): void {
  if (state.outputFull === 0 && state.keys.length > 0 && (state.commandByte & COMMAND_BYTE.KEYBOARD_DISABLED) === 0) {
    state.outputBuffer = state.keys.shift();
    state.outputFull = 1;
  }
  const interrupts = (state.commandByte & COMMAND_BYTE.KEYBOARD_INTERRUPT) !== 0;
  port.setIrq(interrupts && state.outputFull !== 0 ? 1 : 0);
}

/** The controller's own answers go straight into the output buffer, over what was unread there. */
function answer(state: State, byte: number): void {
  state.outputBuffer = byte;
  state.outputFull = 1;
}

function setOutputPort(state: State, value: number, port: DevicePort): void {
  state.outputPort = value | OUTPUT_PORT.NOT_RESET;
  if ((value & OUTPUT_PORT.NOT_RESET) === 0) port.request("reset");
}

function runCommand(state: State, command: number, port: DevicePort): void {
  switch (command) {
    case COMMAND.READ_COMMAND_BYTE:
      answer(state, state.commandByte);
      return;
    case COMMAND.DISABLE_AUXILIARY:
      state.commandByte |= COMMAND_BYTE.AUXILIARY_DISABLED;
      return;
    case COMMAND.ENABLE_AUXILIARY:
      state.commandByte &= ~COMMAND_BYTE.AUXILIARY_DISABLED;
      return;
    case COMMAND.TEST_AUXILIARY:
      answer(state, INTERFACE_CLOCK_LOW);
      return;
    case COMMAND.SELF_TEST:
      state.commandByte |= COMMAND_BYTE.SYSTEM;
      answer(state, SELF_TEST_PASSED);
      return;
    case COMMAND.TEST_KEYBOARD:
      answer(state, INTERFACE_GOOD);
      return;
    case COMMAND.DISABLE_KEYBOARD:
      state.commandByte |= COMMAND_BYTE.KEYBOARD_DISABLED;
      return;
    case COMMAND.ENABLE_KEYBOARD:
      state.commandByte &= ~COMMAND_BYTE.KEYBOARD_DISABLED;
      return;
    case COMMAND.READ_INPUT_PORT:
      answer(state, INPUT_PORT_UNLOCKED);
      return;
    case COMMAND.READ_OUTPUT_PORT:
      answer(state, state.outputPort);
      return;
    case COMMAND.READ_TEST_INPUTS:
      answer(state, 0);
      return;
    case COMMAND.WRITE_COMMAND_BYTE:
    case COMMAND.WRITE_OUTPUT_PORT:
    case COMMAND.WRITE_KEYBOARD_BUFFER:
    case COMMAND.WRITE_AUXILIARY_BUFFER:
    case COMMAND.WRITE_AUXILIARY:
      state.pendingCommand = command;
      return;
  }
  // A pulse pulls those output lines low whose bits are clear; line 0 is the processor's reset.
  if (command >= COMMAND.PULSE && (command & OUTPUT_PORT.NOT_RESET) === 0) port.request("reset");
}

function finishCommand(state: State, command: number, byte: number, port: DevicePort): void {
  switch (command) {
    case COMMAND.WRITE_COMMAND_BYTE:
      state.commandByte = byte;
      return;
    case COMMAND.WRITE_OUTPUT_PORT:
      setOutputPort(state, byte, port);
      return;
    // Without an auxiliary port its echo comes back as the keyboard's, by which drivers see that there is none at once
    // and need not wait for a time-out. What is written to the auxiliary device itself goes nowhere.
    case COMMAND.WRITE_KEYBOARD_BUFFER:
    case COMMAND.WRITE_AUXILIARY_BUFFER:
      answer(state, byte);
      return;
  }
}

function writeData(state: State, byte: number, port: DevicePort): void {
  const command = state.pendingCommand;
  state.lastWasCommand = 0;
  state.pendingCommand = 0;
  if (command !== 0) {
    finishCommand(state, command, byte, port);
    return;
  }
  // Sending to the keyboard enables its line.
  state.commandByte &= ~COMMAND_BYTE.KEYBOARD_DISABLED;
  answerKeyboard(state, byte, (state.commandByte & COMMAND_BYTE.TRANSLATE) !== 0);
}

/**
 * The PC's keyboard controller: how a PC was reset before there were better ways, and a keyboard that answers its
 * driver. There is no auxiliary (mouse) port. `receive` takes scan codes of set 1, as translation delivers them.
 */
export const i8042 = defineDevice({
  name: "i8042",
  state: fields,
  accessBytes: 1,
  reset(state, port) {
    state.commandByte = COMMAND_BYTE_DEFAULT;
    state.outputPort = OUTPUT_PORT.NOT_RESET | OUTPUT_PORT.A20;
    state.outputBuffer = 0;
    state.outputFull = 0;
    state.lastWasCommand = 0;
    state.pendingCommand = 0;
    resetKeyboard(state);
    update(state, port);
  },
  read(state, offset, _sizeBytes, port) {
    if (offset === I8042.STATUS_COMMAND) {
      let status: number = STATUS.UNLOCKED;
      if (state.outputFull !== 0) status |= STATUS.OUTPUT_FULL;
      if ((state.commandByte & COMMAND_BYTE.SYSTEM) !== 0) status |= STATUS.SYSTEM;
      if (state.lastWasCommand !== 0) status |= STATUS.COMMAND;
      return status;
    }
    if (offset !== I8042.DATA) return 0xff;
    // The line falls between two bytes, so that each has an edge of its own.
    const value = state.outputBuffer;
    state.outputFull = 0;
    port.setIrq(0);
    update(state, port);
    return value;
  },
  write(state, offset, _sizeBytes, value, port) {
    if (offset === I8042.STATUS_COMMAND) {
      state.lastWasCommand = 1;
      state.pendingCommand = 0;
      runCommand(state, value, port);
    } else if (offset === I8042.DATA) {
      writeData(state, value, port);
    }
    update(state, port);
  },
  receive(state, byte, port) {
    if (!state.keys.push(byte)) return false;
    update(state, port);
    return true;
  },
});

/** Ctrl-Alt-Del goes down and up again. False when the keyboard is switched off or still holds too much unread. */
export function pressCtrlAltDelete(state: State, port: DevicePort): boolean {
  if (!queueCtrlAltDelete(state)) return false;
  update(state, port);
  return true;
}
