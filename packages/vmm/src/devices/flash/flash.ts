import { bytes, u32 } from "../../state/struct.js";
import { type DeviceDefinition, type DevicePort, defineDevice } from "../device.js";

/** Commands, in the low byte of a write (Intel's command set 0001, as StrataFlash data sheets list them). */
export const FLASH_COMMAND = {
  READ_ARRAY: 0xff,
  READ_STATUS: 0x70,
  CLEAR_STATUS: 0x50,
  READ_IDENTIFIER: 0x90,
  READ_QUERY: 0x98,
  PROGRAM: 0x10,
  PROGRAM_ALTERNATE: 0x40,
  PROGRAM_BUFFER: 0xe8,
  ERASE_BLOCK: 0x20,
  CONFIRM: 0xd0,
} as const;

/** The status register. */
export const FLASH_STATUS = { READY: 0x80, ERASE_FAILED: 0x20, PROGRAM_FAILED: 0x10 } as const;
/** Both failures at once: the second write of a command was not what has to follow. */
const SEQUENCE_ERROR = FLASH_STATUS.ERASE_FAILED | FLASH_STATUS.PROGRAM_FAILED;

/** What is erased at once: what firmware takes its blocks to be. */
export const FLASH_BLOCK_BYTES = 4096;
const ERASED = 0xff;
const BUFFER_BYTES = 64;

/** Intel, 28F128. */
const MANUFACTURER = 0x89;
const DEVICE_CODE = 0x18;

/** What a read gives, or what the next write is. */
const MODE = {
  ARRAY: 0,
  STATUS: 1,
  IDENTIFIER: 2,
  QUERY: 3,
  PROGRAM: 4,
  ERASE: 5,
  BUFFER_COUNT: 6,
  BUFFER_DATA: 7,
  BUFFER_CONFIRM: 8,
} as const;

const fields = {
  mode: u32,
  status: u32,
  /** Of a buffer that is being filled: where it begins, its bytes, and how many have come. */
  bufferStart: u32,
  bufferBytes: u32,
  bufferFilled: u32,
  buffer: bytes(BUFFER_BYTES),
  /** Cells that have changed and are not saved: from, up to. */
  changedStart: u32,
  changedEnd: u32,
};

type FlashDefinition = DeviceDefinition<typeof fields>;
type State = Parameters<FlashDefinition["reset"]>[0];

/**
 * A NOR flash chip, eight bits wide, by Intel's command set (Common Flash Interface, JESD68): what firmware keeps its
 * variables in. The guest reads the cells as it reads RAM. A write is a command: from then on reads come here too, until
 * the command that makes it an array again, and then what has changed is saved.
 */
export function flash(sizeBytes: number): FlashDefinition {
  const query = queryTable(sizeBytes);
  return defineDevice({
    name: "flash",
    state: fields,
    accessBytes: 1,
    reset(state, port) {
      showArray(state, port);
      state.status = FLASH_STATUS.READY;
      state.bufferStart = 0;
      state.bufferBytes = 0;
      state.bufferFilled = 0;
      state.buffer.fill(0);
    },
    read(state, offset, _sizeBytes, port) {
      switch (state.mode) {
        case MODE.ARRAY:
          return port.flash()?.bytes[offset] ?? ERASED;
        case MODE.IDENTIFIER:
          return [MANUFACTURER, DEVICE_CODE][offset & 0xff] ?? 0;
        case MODE.QUERY:
          return query[offset & 0xff] ?? 0;
        default:
          return state.status;
      }
    },
    write(state, offset, _sizeBytes, value, port) {
      if (offset >= sizeBytes) return;
      const step = followers[state.mode];
      if (step === undefined) command(state, offset, value, port);
      else step(state, offset, value, port);
    },
  });
}

function command(state: State, offset: number, value: number, port: DevicePort): void {
  switch (value) {
    case FLASH_COMMAND.READ_STATUS:
      show(state, port, MODE.STATUS);
      return;
    case FLASH_COMMAND.CLEAR_STATUS:
      // All of it, READY too until the next operation: OVMF knows QEMU's chip by that (OvmfPkg, QemuFlash.c).
      state.status = 0;
      return;
    case FLASH_COMMAND.READ_IDENTIFIER:
      show(state, port, MODE.IDENTIFIER);
      return;
    case FLASH_COMMAND.READ_QUERY:
      show(state, port, MODE.QUERY);
      return;
    case FLASH_COMMAND.PROGRAM:
    case FLASH_COMMAND.PROGRAM_ALTERNATE:
      show(state, port, MODE.PROGRAM);
      return;
    case FLASH_COMMAND.ERASE_BLOCK:
      show(state, port, MODE.ERASE);
      return;
    case FLASH_COMMAND.PROGRAM_BUFFER:
      state.bufferStart = offset;
      show(state, port, MODE.BUFFER_COUNT);
      return;
    default:
      // READ_ARRAY, and whatever the chip does not know.
      showArray(state, port);
      return;
  }
}

type Step = (state: State, offset: number, value: number, port: DevicePort) => void;

/** The writes that follow a command's first. */
const followers: Partial<Record<number, Step>> = {
  [MODE.PROGRAM](state, offset, value, port) {
    finish(state);
    program(state, port, offset, [value]);
  },

  [MODE.ERASE](state, offset, value, port) {
    finish(state);
    if (value !== FLASH_COMMAND.CONFIRM) {
      state.status |= SEQUENCE_ERROR;
      return;
    }
    const start = offset - (offset % FLASH_BLOCK_BYTES);
    port.flash()?.bytes.fill(ERASED, start, start + FLASH_BLOCK_BYTES);
    noteChange(state, port, start, FLASH_BLOCK_BYTES);
  },

  [MODE.BUFFER_COUNT](state, _offset, value) {
    state.bufferBytes = value + 1;
    state.bufferFilled = 0;
    state.mode = MODE.BUFFER_DATA;
    if (state.bufferBytes <= BUFFER_BYTES) return;
    finish(state);
    state.status |= SEQUENCE_ERROR;
  },

  [MODE.BUFFER_DATA](state, offset, value) {
    if (state.bufferFilled === 0) state.bufferStart = offset;
    state.buffer[state.bufferFilled++] = value;
    if (state.bufferFilled === state.bufferBytes) state.mode = MODE.BUFFER_CONFIRM;
  },

  [MODE.BUFFER_CONFIRM](state, _offset, value, port) {
    finish(state);
    if (value === FLASH_COMMAND.CONFIRM)
      program(state, port, state.bufferStart, state.buffer.subarray(0, state.bufferBytes));
    else state.status |= SEQUENCE_ERROR;
  },
};

/** A command is over; reads give the status until the next one. */
function finish(state: State): void {
  state.mode = MODE.STATUS;
  state.status |= FLASH_STATUS.READY;
}

/** Programming clears bits; only erasing sets them. */
function program(state: State, port: DevicePort, offset: number, data: ArrayLike<number>): void {
  const cells = port.flash()?.bytes;
  if (cells === undefined) return;
  const count = Math.min(data.length, cells.length - offset);
  for (let i = 0; i < count; i++) cells[offset + i]! &= data[i]!;
  noteChange(state, port, offset, count);
}

/** Changes that follow one another are saved together. */
function noteChange(state: State, port: DevicePort, offset: number, lengthBytes: number): void {
  const isNext = offset >= state.changedStart && offset <= state.changedEnd;
  if (!isNext) {
    save(state, port);
    state.changedStart = offset;
  }
  state.changedEnd = Math.max(offset + lengthBytes, isNext ? state.changedEnd : 0);
}

function save(state: State, port: DevicePort): void {
  const { changedStart, changedEnd } = state;
  state.changedStart = 0;
  state.changedEnd = 0;
  if (changedEnd <= changedStart || port.flash()?.save(changedStart, changedEnd - changedStart) !== false) return;
  state.status |= FLASH_STATUS.PROGRAM_FAILED;
}

function show(state: State, port: DevicePort, mode: number): void {
  if (state.mode === MODE.ARRAY) port.flash()?.expose(false);
  state.mode = mode;
}

function showArray(state: State, port: DevicePort): void {
  save(state, port);
  if (state.mode !== MODE.ARRAY) port.flash()?.expose(true);
  state.mode = MODE.ARRAY;
}

/** What READ_QUERY gives from offset 0x10 on (JESD68, section 2.4): the command set, timing, and one region of blocks. */
function queryTable(sizeBytes: number): Uint8Array {
  const table = new Uint8Array(0x34);
  table.set([...Buffer.from("QRY"), 0x01, 0x00, 0x31, 0x00], 0x10);
  // 4.5 to 5.5 V; typical times to program a byte and a buffer of 2^7 us, to erase a block of 2^10 ms; at most 16 times that.
  table.set([0x45, 0x55, 0x00, 0x00, 0x07, 0x07, 0x0a, 0x00, 0x04, 0x04, 0x04, 0x00], 0x1b);
  const blocks = Math.ceil(sizeBytes / FLASH_BLOCK_BYTES) - 1;
  const blockUnits = FLASH_BLOCK_BYTES / 256;
  table.set([Math.ceil(Math.log2(sizeBytes)), 0x00, 0x00, Math.log2(BUFFER_BYTES), 0x00, 1], 0x27);
  table.set([blocks & 0xff, blocks >> 8, blockUnits & 0xff, blockUnits >> 8], 0x2d);
  table.set(Buffer.from("PRI"), 0x31);
  return table;
}
