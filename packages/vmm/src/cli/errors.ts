/** Exit codes: 0 the guest ended well, 1 it did not (or the host cannot), 2 the command line is wrong. */
export const EXIT = { OK: 0, FAILURE: 1, USAGE: 2 } as const;

/** Something the user can mend: one line on stderr and an exit code, never a stack trace. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly exitCode: number;

  constructor(message: string, exitCode: number = EXIT.USAGE) {
    super(message);
    this.exitCode = exitCode;
  }
}

const WHY: Record<string, string> = {
  ENOENT: "no such file or folder",
  ENOTDIR: "no such file or folder",
  EACCES: "permission denied",
  EISDIR: "a folder",
  EROFS: "a read-only file system",
};

/** What a file system call failed for, in plain words. */
export function whyNot(error: unknown): string {
  const { code = "", message } = error as NodeJS.ErrnoException;
  return WHY[code] ?? message;
}
