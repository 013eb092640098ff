/**
 * A mutex on one word of shared memory. What it guards lasts well under a microsecond, so it spins first and then
 * sleeps. The main thread may wait on it too: Node allows that, browsers would not.
 */
export class SharedLock {
  readonly #words: Int32Array;
  readonly #index: number;

  constructor(words: Int32Array, index: number) {
    this.#words = words;
    this.#index = index;
  }

  acquire(): void {
    const words = this.#words;
    const index = this.#index;
    if (Atomics.compareExchange(words, index, FREE, HELD) === FREE) return;
    for (let spins = 0; spins < SPINS; spins++) {
      if (Atomics.load(words, index) === FREE && Atomics.compareExchange(words, index, FREE, HELD) === FREE) return;
    }
    // Whoever sleeps marks the word, so that an uncontended release needs no notify; see U. Drepper, "Futexes are
    // tricky", for why a third value is enough.
    while (Atomics.exchange(words, index, WAITED_FOR) !== FREE) Atomics.wait(words, index, WAITED_FOR);
  }

  release(): void {
    if (Atomics.exchange(this.#words, this.#index, FREE) === WAITED_FOR) Atomics.notify(this.#words, this.#index, 1);
  }
}

const FREE = 0;
const HELD = 1;
const WAITED_FOR = 2;
const SPINS = 200;
