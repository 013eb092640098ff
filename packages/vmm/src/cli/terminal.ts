/** The user's terminal in raw mode, and back again whatever happens. */
export interface RawTerminal {
  restore(): void;
}

/**
 * Every key reaches `onBytes` as it is typed. Without a terminal on stdin the bytes come as they are piped. With `raw` false a terminal
 * stays as it is.
 */
export function openTerminal(onBytes: (bytes: Uint8Array) => void, options: { raw?: boolean } = {}): RawTerminal {
  const { stdin } = process;
  const raw = stdin.isTTY === true && (options.raw ?? true);
  if (raw) stdin.setRawMode(true);
  stdin.on("data", onBytes);
  // Standard input may be closed or unreadable; then nobody types, which is no reason to end.
  stdin.on("error", () => {});
  const restore = (): void => {
    stdin.off("data", onBytes);
    stdin.pause();
    if (raw) stdin.setRawMode(false);
    process.off("exit", restore);
  };
  process.on("exit", restore);
  return { restore };
}
