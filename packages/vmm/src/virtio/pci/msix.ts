/**
 * MSI-X (PCI 3.0, section 6.8.2) as state in shared memory: vCPUs write the table, the I/O Worker reads it whenever it has an
 * interrupt. An interrupt that finds its vector masked is pending until somebody unmasks it; both sides look twice, so none
 * is lost between them.
 */
import { type Struct, words } from "../../state/struct.js";
import { isHeldOff, SHARED, type TransportState } from "../transport.js";
import { COMMAND, CONFIG, MSIX_CONTROL } from "./layout.js";

/** Words of a vector in the table. */
export const ENTRY = { ADDRESS: 0, ADDRESS_HIGH: 1, DATA: 2, CONTROL: 3, WORDS: 4 } as const;
const MASKED = 1;
/** VIRTIO_MSI_NO_VECTOR. */
export const NO_VECTOR = 0xffff;

export const msixFields = (vectors: number) => ({
  /** Message control as the driver has written it. */
  msixControl: words(1),
  msixTable: words(ENTRY.WORDS * vectors),
  msixPending: words(Math.ceil(vectors / 32)),
  /** The vector of each queue, and then that of the configuration. */
  vectorOf: words(vectors),
});

/** A message is a write to memory: none is sent while the bus holds the device off. */
export type MsixState = Struct<ReturnType<typeof msixFields>> & Pick<TransportState, "shared">;

export function resetMsix(state: MsixState): void {
  Atomics.store(state.msixControl, 0, 0);
  state.msixTable.fill(0);
  for (let at = ENTRY.CONTROL; at < state.msixTable.length; at += ENTRY.WORDS)
    Atomics.store(state.msixTable, at, MASKED);
  releaseVectors(state);
}

/** As after a reset of the virtio device: MSI-X itself stays as it is, but there is nothing any more that could be pending. */
export function releaseVectors({ vectorOf, msixPending }: MsixState): void {
  vectorOf.fill(NO_VECTOR);
  for (let word = 0; word < msixPending.length; word++) Atomics.store(msixPending, word, 0);
}

export function isEnabled({ msixControl }: MsixState): boolean {
  return (Atomics.load(msixControl, 0) & MSIX_CONTROL.ENABLE) !== 0;
}

function isMasked(state: MsixState, vector: number): boolean {
  const { msixControl, msixTable } = state;
  if (isHeldOff(state) || (Atomics.load(msixControl, 0) & MSIX_CONTROL.FUNCTION_MASK) !== 0) return true;
  return (Atomics.load(msixTable, ENTRY.WORDS * vector + ENTRY.CONTROL) & MASKED) !== 0;
}

const bitOf = (vector: number): number => 1 << (vector & 31);

/** True when the vector was pending; it is not any more. */
function takePending({ msixPending }: MsixState, vector: number): boolean {
  return (Atomics.and(msixPending, vector >> 5, ~bitOf(vector)) & bitOf(vector)) !== 0;
}

/** What decides over the interrupt line beside MSI-X: the configuration space with its command register. */
export type LineState = MsixState & { readonly pciConfig: Uint8Array };

/** The line is what interrupts the driver, and it has not disabled it. */
export function usesLine(state: LineState): boolean {
  const isDisabled = (Atomics.load(state.pciConfig, CONFIG.COMMAND + 1) & (COMMAND.INTERRUPT_DISABLE >> 8)) !== 0;
  return !isEnabled(state) && !isDisabled;
}

/** There is something that the driver has not read the ISR for. */
export function hasReason({ shared }: Pick<TransportState, "shared">): boolean {
  return Atomics.load(shared, SHARED.INTERRUPT) !== 0;
}

/**
 * Interrupts the driver: because of a queue, or of the configuration, which comes behind the last one. Without MSI-X it is
 * one line for all of them, and the ISR says why; while it is disabled the ISR has to do.
 */
export function interruptDriver(
  state: LineState,
  source: number,
  { vector, line }: { readonly vector: (index: number) => void; readonly line: () => void },
): void {
  if (isEnabled(state)) raise(state, source, vector);
  else if (usesLine(state)) line();
}

/** An interrupt of a queue or (behind the last one) of the configuration: sent by `signal`, or left pending. */
export function raise(state: MsixState, source: number, signal: (vector: number) => void): void {
  const vector = state.vectorOf[source] ?? NO_VECTOR;
  if (vector >= state.vectorOf.length) return;
  if (isMasked(state, vector)) {
    Atomics.or(state.msixPending, vector >> 5, bitOf(vector));
    if (isMasked(state, vector) || !takePending(state, vector)) return;
  }
  signal(vector);
}

/** Sends what is pending and may go now. */
export function sendPending(state: MsixState, send: (address: number, data: number) => void): void {
  if (!isEnabled(state)) return;
  const { msixTable } = state;
  for (let vector = 0; vector < state.vectorOf.length; vector++) {
    if (isMasked(state, vector) || !takePending(state, vector)) continue;
    const at = ENTRY.WORDS * vector;
    send(msixTable[at + ENTRY.ADDRESS]!, msixTable[at + ENTRY.DATA]!);
  }
}
