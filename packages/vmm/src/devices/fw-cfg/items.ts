/** What fw_cfg holds: items of bytes by their keys, some of them under names (QEMU, docs/specs/fw_cfg.rst). */

/** Keys with a meaning of their own. Every other key that nothing was put under reads as zeros. */
export const FW_CFG_KEY = {
  SIGNATURE: 0x00,
  ID: 0x01,
  RAM_SIZE: 0x03,
  NB_CPUS: 0x05,
  KERNEL_ADDR: 0x07,
  KERNEL_SIZE: 0x08,
  INITRD_ADDR: 0x0a,
  INITRD_SIZE: 0x0b,
  BOOT_MENU: 0x0e,
  MAX_CPUS: 0x0f,
  KERNEL_ENTRY: 0x10,
  KERNEL_DATA: 0x11,
  INITRD_DATA: 0x12,
  CMDLINE_ADDR: 0x13,
  CMDLINE_SIZE: 0x14,
  CMDLINE_DATA: 0x15,
  SETUP_ADDR: 0x16,
  SETUP_SIZE: 0x17,
  SETUP_DATA: 0x18,
  FILE_DIR: 0x19,
  /** Files have the keys from here on, in the order of the directory. */
  FILE_FIRST: 0x20,
} as const;

/** The ID item: there are the selector and data ports, and there is DMA. */
const FEATURES = { TRADITIONAL: 1 << 0, DMA: 1 << 1 } as const;
const SIGNATURE = "QEMU";

/** An entry of the directory: size, key, two reserved bytes and a zero-terminated name; numbers are big-endian. */
const DIR_ENTRY_BYTES = 64;
const NAME_AT = 8;
const NAME_BYTES = 56;
/** Bit 14 of a selector once asked for writing through the data port, and has meant nothing since QEMU 2.4. */
const WRITE_CHANNEL = 1 << 14;
/** Numbers below the two bits on top, the upper of which is that of an architecture's own keys. */
const LAST_FILE_KEY = 0x3fff;

/** The key that a selector stands for. */
export function keyOf(selector: number): number {
  return selector & ~WRITE_CHANNEL;
}

export interface FwCfgItem {
  readonly bytes: Uint8Array;
  /** The guest may write it, by DMA. */
  readonly writable: boolean;
}

/** Items by key. Their bytes are shared memory, so every thread of a machine sees what a guest writes. */
export type FwCfgItems = ReadonlyMap<number, FwCfgItem>;

export interface FwCfgFile {
  /** `etc/...` and `opt/...`; at most 55 bytes of ASCII, and no two alike. */
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly writable?: boolean;
}

export interface FwCfgContents {
  /** Items by number, other than what the device says of itself and the directory. */
  readonly items: Iterable<readonly [key: number, bytes: Uint8Array]>;
  readonly files: readonly FwCfgFile[];
}

/** Puts a machine's items and files together, with the signature, the ID and the directory, in one piece of shared memory. */
export function buildItems({ items, files }: FwCfgContents): FwCfgItems {
  const sorted = [...files].sort((a, b) => (a.name < b.name ? -1 : 1));
  const source = new Map<number, FwCfgItem>([
    [FW_CFG_KEY.SIGNATURE, readOnly(new TextEncoder().encode(SIGNATURE))],
    [FW_CFG_KEY.ID, readOnly(u32(FEATURES.TRADITIONAL | FEATURES.DMA))],
    [FW_CFG_KEY.FILE_DIR, readOnly(directory(sorted))],
  ]);
  for (const [key, bytes] of items) source.set(key, readOnly(bytes));
  sorted.forEach(({ bytes, writable = false }, index) => {
    source.set(FW_CFG_KEY.FILE_FIRST + index, { bytes, writable });
  });
  return shared(source);
}

/** Values as items hold them: low byte first. */
export function u16(value: number): Uint8Array {
  return Uint8Array.of(value, value >>> 8);
}

export function u32(value: number): Uint8Array {
  return Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
}

export function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}

const readOnly = (bytes: Uint8Array): FwCfgItem => ({ bytes, writable: false });

function directory(files: readonly FwCfgFile[]): Uint8Array {
  if (FW_CFG_KEY.FILE_FIRST + files.length - 1 > LAST_FILE_KEY)
    throw new RangeError(`fw_cfg has no keys for ${files.length} files`);
  const bytes = new Uint8Array(4 + DIR_ENTRY_BYTES * files.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, files.length);
  files.forEach((file, index) => {
    checkName(file.name, files[index - 1]?.name);
    const entry = 4 + DIR_ENTRY_BYTES * index;
    view.setUint32(entry, file.bytes.length);
    view.setUint16(entry + 4, FW_CFG_KEY.FILE_FIRST + index);
    bytes.set(new TextEncoder().encode(file.name), entry + NAME_AT);
  });
  return bytes;
}

function checkName(name: string, before: string | undefined): void {
  if (!/^[\x21-\x7e]+$/.test(name) || name.length >= NAME_BYTES) {
    throw new RangeError(`fw_cfg takes no file named ${JSON.stringify(name)}`);
  }
  if (name === before) throw new RangeError(`fw_cfg has two files named ${name}`);
}

function shared(items: ReadonlyMap<number, FwCfgItem>): FwCfgItems {
  const sizeBytes = [...items.values()].reduce((sum, { bytes }) => sum + bytes.length, 0);
  const buffer = new SharedArrayBuffer(sizeBytes);
  let offset = 0;
  return new Map(
    [...items].map(([key, { bytes, writable }]) => {
      const copy = new Uint8Array(buffer, offset, bytes.length);
      copy.set(bytes);
      offset += bytes.length;
      return [key, { bytes: copy, writable }];
    }),
  );
}
