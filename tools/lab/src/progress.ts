/** Says what takes time: a line that counts on a terminal, and a line now and then elsewhere. Nothing in the first two seconds. */

const SILENT_MS = 2000;
const TERMINAL_STEP_MS = 200;
const PLAIN_STEP_MS = 10_000;
const ERASE_LINE = "\r\x1b[K";

/** Starts the telling and returns what ends it. */
export function showProgress(label: string, stream: NodeJS.WriteStream = process.stderr): () => void {
  const startedMs = Date.now();
  const elapsed = () => `${label} ... ${Math.floor((Date.now() - startedMs) / 1000)} s`;
  let shown = false;
  let timer: NodeJS.Timeout;
  const tell = () => {
    stream.write(stream.isTTY ? `${ERASE_LINE}${elapsed()}` : `${elapsed()}\n`);
    shown = true;
    timer = setTimeout(tell, stream.isTTY ? TERMINAL_STEP_MS : PLAIN_STEP_MS);
  };
  timer = setTimeout(tell, SILENT_MS);
  return () => {
    clearTimeout(timer);
    if (shown && stream.isTTY) stream.write(ERASE_LINE);
  };
}
