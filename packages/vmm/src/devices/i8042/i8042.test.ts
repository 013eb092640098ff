import { describe, expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import { COMMAND, COMMAND_BYTE, I8042, i8042, pressCtrlAltDelete, STATUS } from "./i8042.js";
import { KEYBOARD } from "./keyboard.js";

type Controller = Bench<typeof i8042.state>;

const command = (bench: Controller, value: number): void => bench.write(I8042.STATUS_COMMAND, value);
const data = (bench: Controller, value: number): void => bench.write(I8042.DATA, value);
const status = (bench: Controller): number => bench.read(I8042.STATUS_COMMAND);

/** Everything that can be read until the output buffer stays empty. */
function drain(bench: Controller): number[] {
  const bytes: number[] = [];
  while ((status(bench) & STATUS.OUTPUT_FULL) !== 0) bytes.push(bench.read(I8042.DATA));
  return bytes;
}

const CTRL_ALT_DELETE = [0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d];

describe("a reset is asked for", () => {
  it("by pulsing the reset line", () => {
    const bench = new Bench(i8042);
    command(bench, 0xfe);
    expect(bench.port.requests).toEqual([{ request: "reset", status: undefined }]);
    command(bench, 0xf0);
    expect(bench.port.requests).toHaveLength(2);
  });

  it("by clearing bit 0 of the output port", () => {
    const bench = new Bench(i8042);
    command(bench, COMMAND.WRITE_OUTPUT_PORT);
    data(bench, 0xfe);
    expect(bench.port.requests).toHaveLength(1);
  });

  it("by no pulse of another line", () => {
    const bench = new Bench(i8042);
    for (const pulse of [0xff, 0xf1, 0xfd]) command(bench, pulse);
    expect(bench.port.requests).toEqual([]);
  });
});

describe("the controller", () => {
  it("tells by the status whether the last byte was a command or data", () => {
    const bench = new Bench(i8042);
    command(bench, COMMAND.ENABLE_KEYBOARD);
    expect(status(bench) & STATUS.COMMAND).toBe(STATUS.COMMAND);
    data(bench, KEYBOARD.ECHO);
    expect(status(bench) & STATUS.COMMAND).toBe(0);
  });

  it("notes in its command byte which lines are off, and that it has passed its test", () => {
    const bench = new Bench(i8042);
    const commandByte = () => {
      command(bench, COMMAND.READ_COMMAND_BYTE);
      return drain(bench)[0]!;
    };
    const { KEYBOARD_DISABLED, AUXILIARY_DISABLED, TRANSLATE, SYSTEM } = COMMAND_BYTE;
    command(bench, COMMAND.WRITE_COMMAND_BYTE);
    data(bench, TRANSLATE);
    command(bench, COMMAND.DISABLE_AUXILIARY);
    expect(commandByte()).toBe(TRANSLATE | AUXILIARY_DISABLED);
    command(bench, COMMAND.DISABLE_KEYBOARD);
    expect(commandByte()).toBe(TRANSLATE | AUXILIARY_DISABLED | KEYBOARD_DISABLED);
    command(bench, COMMAND.ENABLE_AUXILIARY);
    expect(commandByte()).toBe(TRANSLATE | KEYBOARD_DISABLED);
    command(bench, COMMAND.SELF_TEST);
    drain(bench);
    expect(commandByte()).toBe(TRANSLATE | KEYBOARD_DISABLED | SYSTEM);
  });

  it("shows its input port, with the keyboard unlocked, and its test inputs", () => {
    const bench = new Bench(i8042);
    command(bench, COMMAND.READ_INPUT_PORT);
    expect(drain(bench)).toEqual([0x80]);
    command(bench, COMMAND.READ_TEST_INPUTS);
    expect(drain(bench)).toEqual([0x00]);
  });

  it("has nothing between its two ports", () => {
    const bench = new Bench(i8042);
    bench.receive(1);
    bench.write(2, 0xfe);
    expect(bench.read(2)).toBe(0xff);
    expect(drain(bench)).toEqual([1]);
  });

  it("passes its self test", () => {
    const bench = new Bench(i8042);
    command(bench, COMMAND.SELF_TEST);
    expect(status(bench)).toBe(STATUS.OUTPUT_FULL | STATUS.SYSTEM | STATUS.COMMAND | STATUS.UNLOCKED);
    expect(drain(bench)).toEqual([0x55]);
  });

  it("keeps a command byte", () => {
    const bench = new Bench(i8042);
    command(bench, COMMAND.WRITE_COMMAND_BYTE);
    data(bench, 0x34);
    command(bench, COMMAND.READ_COMMAND_BYTE);
    expect(drain(bench)).toEqual([0x34]);
  });

  it("keeps the A20 bit of its output port", () => {
    const bench = new Bench(i8042);
    command(bench, COMMAND.READ_OUTPUT_PORT);
    expect(drain(bench)).toEqual([0x03]);
    command(bench, COMMAND.WRITE_OUTPUT_PORT);
    data(bench, 0x01);
    command(bench, COMMAND.READ_OUTPUT_PORT);
    expect(drain(bench)).toEqual([0x01]);
  });

  it("finds its keyboard line good, and nothing on the auxiliary one", () => {
    const bench = new Bench(i8042);
    command(bench, COMMAND.TEST_KEYBOARD);
    expect(drain(bench)).toEqual([0x00]);
    command(bench, COMMAND.TEST_AUXILIARY);
    expect(drain(bench)).toEqual([0x01]);
    command(bench, COMMAND.WRITE_AUXILIARY);
    data(bench, KEYBOARD.RESET);
    expect(drain(bench)).toEqual([]);
  });

  it("puts a byte of the guest's into the output buffer as if it were a key", () => {
    const bench = new Bench(i8042);
    command(bench, COMMAND.WRITE_KEYBOARD_BUFFER);
    data(bench, 0x1e);
    expect(bench.port.irq).toBe(1);
    expect(drain(bench)).toEqual([0x1e]);
  });

  it("takes a new command in place of the data that an earlier one waits for", () => {
    const bench = new Bench(i8042);
    command(bench, COMMAND.WRITE_OUTPUT_PORT);
    command(bench, COMMAND.SELF_TEST);
    data(bench, KEYBOARD.ECHO);
    expect(bench.port.requests).toEqual([]);
    expect(drain(bench)).toEqual([0x55, KEYBOARD.ECHO]);
  });
});

describe("the keyboard", () => {
  it.each<[string, number[], number[]]>([
    ["acknowledges and passes its test on reset", [KEYBOARD.RESET], [KEYBOARD.ACK, KEYBOARD.TEST_PASSED]],
    ["names itself as translation shows it", [KEYBOARD.IDENTIFY], [KEYBOARD.ACK, 0xab, 0x41]],
    ["echoes", [KEYBOARD.ECHO], [KEYBOARD.ECHO]],
    ["takes the LEDs", [KEYBOARD.SET_LEDS, 0x07], [KEYBOARD.ACK, KEYBOARD.ACK]],
    ["takes a repeat rate", [KEYBOARD.SET_RATE, 0x00], [KEYBOARD.ACK, KEYBOARD.ACK]],
    ["tells its scan code set", [KEYBOARD.SCAN_CODE_SET, 0x00], [KEYBOARD.ACK, KEYBOARD.ACK, 0x41]],
    ["asks again for what it does not know", [0xe1], [KEYBOARD.RESEND]],
    ["takes only one parameter", [KEYBOARD.SET_LEDS, 0x07, 0x07], [KEYBOARD.ACK, KEYBOARD.ACK, KEYBOARD.RESEND]],
    ["takes no parameter from 0x80 on", [KEYBOARD.SET_RATE, 0x80], [KEYBOARD.ACK, KEYBOARD.RESEND]],
    ["is switched off and on", [KEYBOARD.DISABLE, KEYBOARD.ENABLE], [KEYBOARD.ACK, KEYBOARD.ACK]],
    ["goes back to its defaults", [KEYBOARD.SET_DEFAULTS], [KEYBOARD.ACK]],
    ["takes a command in place of a parameter", [KEYBOARD.SET_LEDS, KEYBOARD.ECHO], [KEYBOARD.ACK, KEYBOARD.ECHO]],
  ])("%s", (_what, sent, answers) => {
    const bench = new Bench(i8042);
    for (const byte of sent) data(bench, byte);
    expect(drain(bench)).toEqual(answers);
  });

  it("forgets what it holds, and reports keys again, when it is reset", () => {
    const bench = new Bench(i8042);
    data(bench, KEYBOARD.DISABLE);
    for (let i = 0; i < 5; i++) data(bench, KEYBOARD.ECHO);
    data(bench, KEYBOARD.RESET);
    // The first byte was in the controller already.
    expect(drain(bench)).toEqual([KEYBOARD.ACK, KEYBOARD.ACK, KEYBOARD.TEST_PASSED]);
    expect(pressCtrlAltDelete(bench.state, bench.port)).toBe(true);
  });

  it("names itself without translation when that is off", () => {
    const bench = new Bench(i8042);
    command(bench, COMMAND.WRITE_COMMAND_BYTE);
    data(bench, 0);
    data(bench, KEYBOARD.IDENTIFY);
    expect(drain(bench)).toEqual([KEYBOARD.ACK, 0xab, 0x83]);
  });

  it("raises its interrupt anew for each byte", () => {
    const bench = new Bench(i8042);
    bench.receive(0x1e);
    bench.receive(0x9e);
    expect(bench.port.irqChanges).toEqual([1]);
    expect(bench.read(I8042.DATA)).toBe(0x1e);
    expect(bench.port.irqChanges).toEqual([1, 0, 1]);
    expect(bench.read(I8042.DATA)).toBe(0x9e);
    expect(bench.port.irqChanges).toEqual([1, 0, 1, 0]);
  });

  it("raises none while interrupts are off, but can be polled", () => {
    const bench = new Bench(i8042);
    command(bench, COMMAND.WRITE_COMMAND_BYTE);
    data(bench, COMMAND_BYTE.TRANSLATE);
    bench.receive(0x1e);
    expect(bench.port.irq).toBe(0);
    expect(drain(bench)).toEqual([0x1e]);
  });

  it("waits while its line is off, until the line is on again or the guest sends to it", () => {
    const bench = new Bench(i8042);
    command(bench, COMMAND.DISABLE_KEYBOARD);
    bench.receive(0x1e);
    expect(drain(bench)).toEqual([]);
    command(bench, COMMAND.ENABLE_KEYBOARD);
    expect(drain(bench)).toEqual([0x1e]);
    command(bench, COMMAND.DISABLE_KEYBOARD);
    data(bench, KEYBOARD.ECHO);
    expect(drain(bench)).toEqual([KEYBOARD.ECHO]);
  });

  it("refuses what it has no room for", () => {
    const bench = new Bench(i8042);
    let taken = 0;
    while (bench.receive(taken)) taken++;
    expect(drain(bench)).toEqual(Array.from({ length: taken }, (_, i) => i));
    expect(bench.receive(1)).toBe(true);
  });
});

describe("Ctrl-Alt-Del", () => {
  it("arrives as the scan codes of its keys going down and up, with an interrupt", () => {
    const bench = new Bench(i8042);
    expect(pressCtrlAltDelete(bench.state, bench.port)).toBe(true);
    expect(bench.port.irq).toBe(1);
    expect(drain(bench)).toEqual(CTRL_ALT_DELETE);
  });

  it("arrives whole or not at all when the guest does not read", () => {
    const bench = new Bench(i8042);
    let presses = 0;
    while (pressCtrlAltDelete(bench.state, bench.port)) presses++;
    expect(presses).toBe(3);
    expect(drain(bench)).toEqual(Array.from({ length: presses }, () => CTRL_ALT_DELETE).flat());
  });

  it("is refused while the guest has switched the keyboard off", () => {
    const bench = new Bench(i8042);
    data(bench, KEYBOARD.DISABLE);
    drain(bench);
    expect(pressCtrlAltDelete(bench.state, bench.port)).toBe(false);
    data(bench, KEYBOARD.ENABLE);
    drain(bench);
    expect(pressCtrlAltDelete(bench.state, bench.port)).toBe(true);
  });
});

it("survives whatever a guest does", () => exercise(i8042, 5));
