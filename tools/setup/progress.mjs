/**
 * Says what takes time. On a terminal one line that counts, drawn over and gone when its work is done; elsewhere, as in a CI
 * log, a plain line now and then. Work of less than two seconds is not mentioned.
 */

const SILENT_MS = 2000;
const TERMINAL_STEP_MS = 100;
const PLAIN_STEP_MS = 10_000;
/** In a log a long wait needs fewer words: a line after every further sixth of what it took so far. */
const PLAIN_STEP_SHARE = 6;
const FRAMES = ["|", "/", "-", "\\"];
const ERASE_LINE = "\r\x1b[K";

export class Progress {
  #stream;
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  #label = "";
  #startedMs = 0;
  #frame = 0;
  #drawn = false;

  /** @param {NodeJS.WriteStream} [stream] */
  constructor(stream = process.stderr) {
    this.#stream = stream;
  }

  /** @param {string} label What is being done: "npm ci". */
  start(label) {
    this.stop();
    this.#label = label;
    this.#startedMs = Date.now();
    this.#timer = setTimeout(() => this.#tell(), SILENT_MS);
  }

  /** Changes what the line says without starting its clock again. @param {string} label */
  relabel(label) {
    this.#label = label;
  }

  /** Writes to standard output, past the line. @param {string} text */
  print(text) {
    this.#erase();
    process.stdout.write(text);
  }

  /** Seconds since start. */
  get elapsedS() {
    return Math.floor((Date.now() - this.#startedMs) / 1000);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#erase();
  }

  #tell() {
    const text = `${this.#label} ... ${this.elapsedS} s`;
    if (this.#stream.isTTY) {
      const width = Math.max(20, this.#stream.columns ?? 80) - 3;
      this.#stream.write(`${ERASE_LINE}${FRAMES[this.#frame++ % FRAMES.length]} ${text.slice(0, width)}`);
      this.#drawn = true;
    } else {
      this.#stream.write(`${text}\n`);
    }
    this.#timer = setTimeout(() => this.#tell(), this.#stream.isTTY ? TERMINAL_STEP_MS : this.#plainStepMs());
  }

  #plainStepMs() {
    return Math.max(PLAIN_STEP_MS, (Date.now() - this.#startedMs) / PLAIN_STEP_SHARE);
  }

  #erase() {
    if (this.#drawn) this.#stream.write(ERASE_LINE);
    this.#drawn = false;
  }
}
