/** What the lab is told to do: a piece of shell that guest/init.sh and guest/agent.sh read. Their names for things, in one place. */

export interface Job {
  /** Program and arguments. One word alone is a line for /bin/sh. */
  command: readonly string[];
  cwd: string;
  env: Readonly<Record<string, string>>;
  /** Printed behind the last byte of each output stream. */
  endMark: string;
  stdin: boolean;
  /** Given when the command gets a terminal instead of three streams. */
  terminal: TerminalSize | undefined;
  out: string | undefined;
  /** Where to find modules that are not in the host's /lib/modules. */
  modules: { directory: string; version: string } | undefined;
  /** An empty /tmp in memory; not when something the command needs lies in the host's. */
  hideTmp: boolean;
}

export interface TerminalSize {
  rows: number;
  columns: number;
}

export function jobScript(job: Job): string {
  const program = [...programLine(job)].map(quote).join(" ");
  const start = `cd ${quote(job.cwd)} && exec $b setsid`;
  return [
    `end_mark=${quote(job.endMark)}`,
    `stdin_wanted=${yesNo(job.stdin)}`,
    `terminal_wanted=${yesNo(job.terminal !== undefined)}`,
    `rows=${job.terminal?.rows ?? 0}`,
    `columns=${job.terminal?.columns ?? 0}`,
    `out_directory=${quote(job.out ?? "")}`,
    `modules_directory=${quote(job.modules?.directory ?? "")}`,
    `modules_version=${quote(job.modules?.version ?? "")}`,
    `hide_tmp=${yesNo(job.hideTmp)}`,
    `become_command() { ${start} ${program}; }`,
    // -c: the terminal on standard input becomes the controlling one, for Ctrl-C and job control.
    `become_terminal_command() { ${start} -c ${program}; }`,
    // Last, because an unfinished job must not pass for one.
    "job_complete=yes",
    "",
  ].join("\n");
}

function programLine({ command, env }: Job): string[] {
  const [only, ...rest] = command;
  if (only === undefined) throw new RangeError("a lab needs a command");
  const assignments = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const program = rest.length === 0 ? ["/bin/sh", "-c", only] : command;
  return ["/usr/bin/env", "-i", ...assignments, ...program];
}

/** One word to every POSIX shell. */
export function quote(text: string): string {
  if (text.includes("\0")) throw new RangeError("a NUL cannot be passed to a command");
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function yesNo(value: boolean): string {
  return value ? "yes" : "no";
}
