/** What is wrong with a perf.data file, and where. */
export class PerfDataError extends Error {
  override readonly name = "PerfDataError";
  /** Byte of the file; of data that was compressed, the byte of the record that holds it. */
  readonly offset: number;

  constructor(problem: string, offset: number) {
    super(`perf.data, byte ${offset}: ${problem}`);
    this.offset = offset;
  }
}
