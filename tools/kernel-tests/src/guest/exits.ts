/** An exit in words, so that tests compare sentences and failures can be read. */
import * as b from "@tools-kvm/kvm-binding";

const EXIT = /^KVM_EXIT_(?!IO_|HYPERV_|XEN_|IN$)/;
const names = new Map(
  Object.entries(b)
    .filter((entry): entry is [string, number] => EXIT.test(entry[0]) && typeof entry[1] === "number")
    .map(([name, value]) => [value, name]),
);

export function exitName(reason: number): string {
  return names.get(reason) ?? `exit reason ${reason}`;
}

const WIDTHS: Record<number, string> = { 1: "byte", 2: "word", 4: "dword", 8: "qword" };
const width = (bytes: number): string => WIDTHS[bytes] ?? `${bytes} bytes`;
const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

function littleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

function portAccess(run: b.Run, page: ArrayBuffer): string {
  const { ioSize, ioCount, ioPort } = run;
  const times = ioCount === 1 ? "" : ` x${ioCount}`;
  if (run.ioDirection === b.KVM_EXIT_IO_IN) return `in ${width(ioSize)} ${hex(ioPort)}${times}`;
  const values = Array.from({ length: ioCount }, (_, i) =>
    hex(littleEndian(new Uint8Array(page, Number(run.ioDataOffset) + i * ioSize, ioSize))),
  );
  return `out ${width(ioSize)} ${hex(ioPort)}${times}: ${values.join(" ")}`;
}

function memoryAccess(run: b.Run): string {
  const what = `${width(run.mmioLen)} ${hex(run.mmioPhysAddr)}`;
  return run.mmioIsWrite === 0
    ? `read ${what}`
    : `write ${what}: ${hex(littleEndian(run.mmioData.subarray(0, run.mmioLen)))}`;
}

/** "out byte 0x10: 0x41", "in word 0x60", "read dword 0xd0000000", "write byte 0xd0000000: 0x1", "hlt", "internal error, suberror 1". */
export function describeExit(run: b.Run, page: ArrayBuffer): string {
  switch (run.exitReason) {
    case b.KVM_EXIT_IO:
      return portAccess(run, page);
    case b.KVM_EXIT_MMIO:
      return memoryAccess(run);
    case b.KVM_EXIT_DEBUG:
      return `debug, exception ${run.debugArchException} at ${hex(run.debugArchPc)}`;
    case b.KVM_EXIT_INTERNAL_ERROR:
      return `internal error, suberror ${run.internalSuberror}`;
    case b.KVM_EXIT_FAIL_ENTRY:
      return `entry failed, ${hex(run.failEntryHardwareEntryFailureReason)}`;
    case b.KVM_EXIT_X86_RDMSR:
      return `rdmsr ${hex(run.msrIndex)}`;
    case b.KVM_EXIT_X86_WRMSR:
      return `wrmsr ${hex(run.msrIndex)}: ${hex(run.msrData)}`;
    default:
      return exitName(run.exitReason)
        .replace(/^KVM_EXIT_/, "")
        .toLowerCase()
        .replaceAll("_", " ");
  }
}
