/** What cannot be said in AML: a name that is none, a number or a package that is too large. */
export class AmlError extends RangeError {
  constructor(message: string) {
    super(message);
    this.name = "AmlError";
  }
}
