/**
 * How many kinds of exits all threads of a source may make together. A live machine never comes near it; a file may claim
 * anything, and a kind of hardware exit takes 16 KB for its histogram.
 */
const MAXIMUM_HARDWARE_KINDS = 4096;
const MAXIMUM_USERSPACE_KINDS = 100_000;

export class KindBudget {
  #hardware = MAXIMUM_HARDWARE_KINDS;
  #userspace = MAXIMUM_USERSPACE_KINDS;

  takeHardware(): boolean {
    if (this.#hardware <= 0) return false;
    this.#hardware--;
    return true;
  }

  takeUserspace(): boolean {
    if (this.#userspace <= 0) return false;
    this.#userspace--;
    return true;
  }

  giveUserspace(count: number): void {
    this.#userspace += count;
  }
}
