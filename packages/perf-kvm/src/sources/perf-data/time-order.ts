/**
 * Puts records into the order of their times. What comes in is a few ascending runs, one a CPU's ring and round, so it is
 * merged run by run; records of the same time stay in the order in which they came.
 */
const FIRST_CAPACITY = 4096;

export class TimeOrder {
  /** Entries that wait; `times` and `values` are parallel. After `sort` they are in order. */
  length = 0;
  times = new Float64Array(FIRST_CAPACITY);
  values = new Int32Array(FIRST_CAPACITY);
  #spareTimes = new Float64Array(FIRST_CAPACITY);
  #spareValues = new Int32Array(FIRST_CAPACITY);
  /** Where runs begin; the first begins at 0. */
  #runs: number[] = [];
  #last = Number.NEGATIVE_INFINITY;
  maximum = Number.NEGATIVE_INFINITY;

  add(time: number, value: number): void {
    const index = this.length++;
    if (index === this.times.length) this.#grow();
    if (time < this.#last) this.#runs.push(index);
    this.#last = time;
    if (time > this.maximum) this.maximum = time;
    this.times[index] = time;
    this.values[index] = value;
  }

  /** Sorts what waits. Returns how many entries have a time of at most `limit`; they are the first ones. */
  sort(limit: number): number {
    if (this.#runs.length > 0) this.#mergeRuns();
    return countUntil(this.times, this.length, limit);
  }

  /** Drops the first `count` entries, and takes `base` off the values of the others. */
  drop(count: number): void {
    this.times.copyWithin(0, count, this.length);
    this.values.copyWithin(0, count, this.length);
    this.length -= count;
    this.#last = this.length > 0 ? this.times[this.length - 1]! : Number.NEGATIVE_INFINITY;
  }

  rebase(base: number): void {
    const { values, length } = this;
    for (let i = 0; i < length; i++) values[i]! -= base;
  }

  smallestValue(otherwise: number): number {
    const { values, length } = this;
    let smallest = otherwise;
    for (let i = 0; i < length; i++) if (values[i]! < smallest) smallest = values[i]!;
    return smallest;
  }

  #grow(): void {
    const capacity = this.times.length * 2;
    const times = new Float64Array(capacity);
    times.set(this.times);
    const values = new Int32Array(capacity);
    values.set(this.values);
    this.times = times;
    this.values = values;
    this.#spareTimes = new Float64Array(capacity);
    this.#spareValues = new Int32Array(capacity);
  }

  #mergeRuns(): void {
    let starts = [0, ...this.#runs.splice(0), this.length];
    while (starts.length > 2) {
      const merged: number[] = [];
      for (let i = 0; i + 1 < starts.length; i += 2) {
        const [from, middle, to] = [starts[i]!, starts[i + 1]!, starts[i + 2] ?? starts[i + 1]!];
        this.#merge(from, middle, to);
        merged.push(from);
      }
      merged.push(this.length);
      starts = merged;
      [this.times, this.#spareTimes] = [this.#spareTimes, this.times];
      [this.values, this.#spareValues] = [this.#spareValues, this.values];
    }
  }

  #merge(from: number, middle: number, to: number): void {
    const { times, values } = this;
    const [outTimes, outValues] = [this.#spareTimes, this.#spareValues];
    let left = from;
    let right = middle;
    for (let at = from; at < to; at++) {
      const source = left < middle && (right >= to || times[left]! <= times[right]!) ? left++ : right++;
      outTimes[at] = times[source]!;
      outValues[at] = values[source]!;
    }
  }
}

/** How many of the first `length` times, which ascend, are at most `limit`. */
export function countUntil(times: Float64Array, length: number, limit: number): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (times[middle]! <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
