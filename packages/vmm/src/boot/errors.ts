/** A file that cannot be booted, or a machine it does not fit in. The message is one line, ready to be shown. */
export class BootError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "BootError";
  }
}
