import { fifo, type Struct, u8 } from "../../state/struct.js";

/** Commands a host sends to a keyboard, and its answers (IBM PS/2 Hardware Interface Technical Reference, "Keyboard"). */
export const KEYBOARD = {
  SET_LEDS: 0xed,
  ECHO: 0xee,
  SCAN_CODE_SET: 0xf0,
  IDENTIFY: 0xf2,
  SET_RATE: 0xf3,
  ENABLE: 0xf4,
  DISABLE: 0xf5,
  SET_DEFAULTS: 0xf6,
  RESET: 0xff,
  ACK: 0xfa,
  RESEND: 0xfe,
  TEST_PASSED: 0xaa,
} as const;

/** A PS/2 keyboard's identity is 0xab 0x83; the controller's translation makes 0x41 of the second byte, as of set 2. */
const ID = 0xab;
const ID_SECOND = { plain: 0x83, translated: 0x41 } as const;
const SCAN_CODE_SET = { plain: 0x02, translated: 0x41 } as const;

/** Scan codes of set 1: left Ctrl, left Alt, the grey Delete; bit 7 says that a key went up. */
const CTRL_ALT_DELETE = [0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d] as const;

/** Room for the longest answer and two presses of Ctrl-Alt-Del. */
const QUEUE_BYTES = 24;

export const keyboardFields = {
  /** The command that waits for its parameter; 0 when none. */
  keyboardCommand: u8,
  /** 1 while keys are reported. */
  scanning: u8,
  /** Answers and scan codes that the controller has not taken yet. */
  keys: fifo(QUEUE_BYTES),
};
type Keyboard = Struct<typeof keyboardFields>;

export function resetKeyboard(keyboard: Keyboard): void {
  keyboard.keyboardCommand = 0;
  keyboard.scanning = 1;
  keyboard.keys.clear();
}

/** The keyboard receives a byte and queues its answer. `translated` says whether the controller translates. */
export function answerKeyboard(keyboard: Keyboard, byte: number, translated: boolean): void {
  const say = (...answer: number[]): void => {
    for (const part of answer) keyboard.keys.push(part);
  };
  const command = keyboard.keyboardCommand;
  keyboard.keyboardCommand = 0;
  // A command in place of a parameter is a command; parameters have bit 7 clear.
  if (command !== 0 && byte < 0x80) {
    say(KEYBOARD.ACK);
    if (command === KEYBOARD.SCAN_CODE_SET && byte === 0)
      say(translated ? SCAN_CODE_SET.translated : SCAN_CODE_SET.plain);
    return;
  }
  switch (byte) {
    case KEYBOARD.RESET:
      resetKeyboard(keyboard);
      say(KEYBOARD.ACK, KEYBOARD.TEST_PASSED);
      return;
    case KEYBOARD.IDENTIFY:
      say(KEYBOARD.ACK, ID, translated ? ID_SECOND.translated : ID_SECOND.plain);
      return;
    case KEYBOARD.ECHO:
      say(KEYBOARD.ECHO);
      return;
    case KEYBOARD.SET_LEDS:
    case KEYBOARD.SET_RATE:
    case KEYBOARD.SCAN_CODE_SET:
      keyboard.keyboardCommand = byte;
      say(KEYBOARD.ACK);
      return;
    case KEYBOARD.ENABLE:
    case KEYBOARD.DISABLE:
    case KEYBOARD.SET_DEFAULTS:
      keyboard.scanning = byte === KEYBOARD.DISABLE ? 0 : 1;
      say(KEYBOARD.ACK);
      return;
    default:
      say(KEYBOARD.RESEND);
  }
}

/** Queues Ctrl-Alt-Del, all or nothing. False when keys are not reported or there is no room. */
export function queueCtrlAltDelete({ scanning, keys }: Keyboard): boolean {
  if (scanning === 0 || keys.capacity - keys.length < CTRL_ALT_DELETE.length) return false;
  for (const code of CTRL_ALT_DELETE) keys.push(code);
  return true;
}
