/** Exit codes: 0 done, 1 it could not be done, 2 the command line is wrong. */
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

/** The exit code that an error asks for. Each subcommand is a file with a CliError of its own: it is known by its name. */
export function exitCodeOf(error: unknown): number {
  return error instanceof Error && error.name === "CliError" ? (error as CliError).exitCode : EXIT.FAILURE;
}
