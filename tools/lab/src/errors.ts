/**
 * What stops a lab before it runs: one line that says what is wrong, and one that mends it. The command line ends with status 2.
 *
 * @example new LabError("QEMU is not installed", "apt-get install qemu-system-x86")
 */
export class LabError extends Error {
  override readonly name = "LabError";

  constructor(
    problem: string,
    /** The command, or the words, that mend it. */
    readonly remedy?: string,
  ) {
    super(remedy === undefined ? problem : `${problem}: ${remedy}`);
  }
}
