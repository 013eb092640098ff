/** The live table on a terminal: keys, and what each makes of the report. */
import type { Report } from "../model/report.js";
import { DEFAULT_SORT, EXIT_COLUMNS, headerLine, matches, rowLine, sortRows } from "./columns.js";
import { statsText, summaryLine } from "./plain.js";
import { Screen } from "./screen.js";

const HELP = [
  "",
  "  q        quit",
  "  < and >  sort by the column to the left or right",
  "  f        show only rows with a text in them; an empty text shows all again",
  "  p        freeze and go on",
  "  arrows   scroll",
  "  h        this help",
  "",
  "  TIME     part of all time that this kind of exit accounts for",
  "  AVG P99  time away from the guest, from kvm_exit to kvm_entry",
  "  HANDLER  mean time in the VMM's device, from its exit ledger",
  "  -        cannot be known on this host",
];

const CTRL_C = "\x03";
const ESCAPE = "\x1b";

export interface TuiState {
  sort: number;
  filter: string;
  /** What is being typed after `f`; undefined when nothing is. */
  typing: string | undefined;
  frozen: boolean;
  help: boolean;
  scroll: number;
}

export const INITIAL_STATE: TuiState = {
  sort: DEFAULT_SORT,
  filter: "",
  typing: undefined,
  frozen: false,
  help: false,
  scroll: 0,
};

/** What a key makes of the state; undefined when it ends the view. */
export function pressed(state: TuiState, key: string): TuiState | undefined {
  if (key === CTRL_C) return undefined;
  if (state.typing !== undefined) return typed(state, state.typing, key);
  switch (key) {
    case "q":
      return undefined;
    case "<":
    case ",":
      return { ...state, sort: (state.sort + EXIT_COLUMNS.length - 1) % EXIT_COLUMNS.length };
    case ">":
    case ".":
    case "s":
      return { ...state, sort: (state.sort + 1) % EXIT_COLUMNS.length };
    case "f":
    case "/":
      return { ...state, typing: "" };
    case "p":
    case " ":
      return { ...state, frozen: !state.frozen };
    case "h":
    case "?":
      return { ...state, help: !state.help };
    case `${ESCAPE}[A`:
      return { ...state, scroll: Math.max(0, state.scroll - 1) };
    case `${ESCAPE}[B`:
      return { ...state, scroll: state.scroll + 1 };
    default:
      return state;
  }
}

function typed(state: TuiState, typing: string, key: string): TuiState {
  if (key === "\r" || key === "\n") return { ...state, filter: typing, typing: undefined, scroll: 0 };
  if (key === ESCAPE) return { ...state, typing: undefined };
  if (key === "\x7f" || key === "\b") return { ...state, typing: typing.slice(0, -1) };
  return key >= " " && !key.startsWith(ESCAPE) ? { ...state, typing: typing + key } : state;
}

/** The lines of a frame: exactly `rows` of them, and notes and counters cut to `columns` at their words. */
export function frame(report: Report, state: TuiState, rows: number, columns = 80): string[] {
  const filter = state.filter === "" ? "" : `  filter: ${state.filter}`;
  const head = [
    `perf-kvm top: ${summaryLine(report)}${state.frozen ? "  FROZEN" : ""}${filter}`,
    ...report.notes.flatMap((note) => wrapped(`! ${note}`, columns)),
    ...report.stats.flatMap(({ machine, counters }) => {
      const text = statsText(counters, report.seconds);
      return text === "" ? [] : wrapped(`${machine}: ${text}`, columns);
    }),
    "",
  ];
  const foot =
    state.typing === undefined
      ? `sorted by ${EXIT_COLUMNS[state.sort]!.title}   q quit  <> sort  f filter  p freeze  h help`
      : `filter: ${state.typing}_`;
  const body = state.help ? HELP : table(report, state, rows - head.length - 1);
  const lines = [...head, ...body].slice(0, rows - 1);
  return [...lines, ...Array.from({ length: rows - 1 - lines.length }, () => ""), foot];
}

/** Lines of at most `columns` characters; all but the first are indented. */
function wrapped(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = `  ${word}`;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

function table(report: Report, { filter, sort, scroll }: TuiState, room: number): string[] {
  const rows = sortRows(
    report.rows.filter((row) => matches(row, filter)),
    sort,
  );
  if (report.machines.length === 0) return ["waiting for a VM; `vmm run` starts one"];
  if (rows.length === 0) return [headerLine(), filter === "" ? "no exits in this period" : "no row has this text"];
  const first = Math.min(scroll, Math.max(0, rows.length - (room - 1)));
  return [headerLine(), ...rows.slice(first).map(rowLine)];
}

const NOTHING: Report = { seconds: 0, machines: [], rows: [], stats: [], lost: 0, notes: [] };

/** Takes the terminal; `close` gives it back. */
export function openTui() {
  const { stdin, stdout } = process;
  const screen = new Screen(stdout.columns, stdout.rows, (text) => void stdout.write(text));
  let state = INITIAL_STATE;
  let report = NOTHING;
  let ended!: () => void;
  const quit = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const redraw = (): void => void screen.draw(frame(report, state, screen.rows, screen.columns));
  const onKey = (bytes: Buffer): void => {
    for (const key of keysOf(bytes.toString("utf8"))) {
      const next = pressed(state, key);
      if (next === undefined) {
        ended();
        return;
      }
      state = next;
    }
    redraw();
  };
  const onResize = (): void => {
    screen.resize(stdout.columns, stdout.rows);
    redraw();
  };
  const close = (): void => {
    stdin.off("data", onKey).pause();
    stdout.off("resize", onResize);
    process.off("exit", close);
    if (stdin.isTTY) stdin.setRawMode(false);
    screen.close();
  };
  stdin.setRawMode(true);
  stdin.on("data", onKey);
  stdout.on("resize", onResize);
  process.on("exit", close);
  screen.open();
  return {
    quit,
    close,
    show(next: Report): void {
      if (!state.frozen) report = next;
      redraw();
    },
    finish(): void {},
  };
}

/** Splits what a terminal sent into keys: a character, or an escape sequence of three. */
export function keysOf(text: string): string[] {
  const keys: string[] = [];
  for (let at = 0; at < text.length; ) {
    const length = text.startsWith(`${ESCAPE}[`, at) ? 3 : 1;
    keys.push(text.slice(at, at + length));
    at += length;
  }
  return keys;
}
