/** The live table on a terminal: keys, and what each makes of the report. */
import type { ExitRow, Report } from "../model/report.js";
import { columnsFor, type ExitColumn, headerLine, matches, rowLine, sortRows } from "./columns.js";
import { below, LEVEL_KEYS, type Place, placeTitle, rowsAt, whyEmpty } from "./place.js";
import { statsText, summaryLine } from "./plain.js";
import { Screen } from "./screen.js";
import { timeLine } from "./time-line.js";

const HELP = [
  "  q        quit",
  "  < and >  sort by the column to the left or right",
  "  f        show only rows with a text in them; an empty text shows all again",
  "  p        freeze and go on",
  "  t        since the beginning, or only the last interval",
  "  c        other columns: extremes, median, and the times as bars",
  "  1 to 6   by reason, detail, vCPU, machine, device, or the guest's instruction",
  "  Enter    down: machine or vCPU, reason, detail, guest instruction",
  "  Bksp     back to where Enter was pressed",
  "  arrows   choose a row, scroll; page up and down",
  "  h        this help",
  "",
  "  time:    where the vCPUs' time went; what has a ~ is by the kernel's ticks",
  "  TIME     part of all exits' time, without what a halted vCPU only waited",
  "  AVG P99  time away from the guest, from kvm_exit to kvm_entry",
  "  HANDLER  mean time in the VMM's device, from its exit ledger",
  "  -        cannot be known on this host",
  "  ns us .. the times as bars: from 64 ns to 1 s, a bar for each factor of four",
];

const CTRL_C = "\x03";
const ESCAPE = "\x1b";
const KEY = {
  UP: `${ESCAPE}[A`,
  DOWN: `${ESCAPE}[B`,
  LEFT: `${ESCAPE}[D`,
  PAGE_UP: `${ESCAPE}[5~`,
  PAGE_DOWN: `${ESCAPE}[6~`,
} as const;
const PAGE_ROWS = 10;

export interface TuiState {
  readonly place: Place;
  /** Where Enter was pressed, the last one last. */
  readonly back: readonly Place[];
  /** Title of the column to sort by. */
  readonly sort: string;
  readonly filter: string;
  /** What is being typed after `f`; undefined when nothing is. */
  readonly typing: string | undefined;
  readonly frozen: boolean;
  /** Since the beginning, in place of the last interval. */
  readonly total: boolean;
  /** Extremes and bars in place of means and devices, where there is no room for all. */
  readonly times: boolean;
  readonly help: boolean;
  /** Where the chosen row was, from 0. */
  readonly cursor: number;
  /** Which it is, wherever it has gone since; undefined while none has been chosen, and the first one is. */
  readonly chosen: string | undefined;
}

export const INITIAL_STATE: TuiState = {
  place: { level: "detail" },
  back: [],
  sort: "RATE/s",
  filter: "",
  typing: undefined,
  frozen: false,
  total: false,
  times: false,
  help: false,
  cursor: 0,
  chosen: undefined,
};
/** Nothing is chosen of a table that one comes to. */
const AT_THE_TOP = { cursor: 0, chosen: undefined } as const;

/** What a key makes of the state, with this report on a screen of this width; undefined when it ends the view. */
export function pressed(state: TuiState, key: string, report: Report = NOTHING, columns = 80): TuiState | undefined {
  if (key === CTRL_C) return undefined;
  if (state.typing !== undefined) return typed(state, state.typing, key);
  const level = LEVEL_KEYS[key];
  if (level !== undefined) return { ...state, place: { level }, back: [], ...AT_THE_TOP, help: false };
  switch (key) {
    case "q":
      return undefined;
    case "<":
    case ",":
      return sortedBeside(state, -1, report, columns);
    case ">":
    case ".":
    case "s":
      return sortedBeside(state, 1, report, columns);
    case "f":
    case "/":
      return { ...state, typing: "" };
    case "p":
    case " ":
      return { ...state, frozen: !state.frozen };
    case "t":
      return { ...state, total: !state.total };
    case "c":
      return { ...state, times: !state.times };
    case "h":
    case "?":
      return { ...state, help: !state.help };
    case "\r":
    case "\n":
      return drilledDown(state, report, columns);
    case "\x7f":
    case "\b":
    case KEY.LEFT:
      return { ...state, place: state.back.at(-1) ?? state.place, back: state.back.slice(0, -1), ...AT_THE_TOP };
    case KEY.UP:
      return moved(state, -1, report, columns);
    case KEY.DOWN:
      return moved(state, 1, report, columns);
    case KEY.PAGE_UP:
      return moved(state, -PAGE_ROWS, report, columns);
    case KEY.PAGE_DOWN:
      return moved(state, PAGE_ROWS, report, columns);
    default:
      return state;
  }
}

function typed(state: TuiState, typing: string, key: string): TuiState {
  if (key === "\r" || key === "\n") return { ...state, filter: typing, typing: undefined, ...AT_THE_TOP };
  if (key === ESCAPE) return { ...state, typing: undefined };
  if (key === "\x7f" || key === "\b") return { ...state, typing: typing.slice(0, -1) };
  return key >= " " && !key.startsWith(ESCAPE) ? { ...state, typing: typing + key } : state;
}

function sortedBeside(state: TuiState, step: number, report: Report, width: number): TuiState {
  const columns = visibleColumns(state, report, width);
  const index = columns.indexOf(sortColumn(state, columns)) + step;
  return { ...state, sort: columns[(index + columns.length) % columns.length]!.title };
}

function moved(state: TuiState, step: number, report: Report, width: number): TuiState {
  const rows = visibleRows(state, report, width);
  const cursor = Math.max(0, Math.min(cursorAmong(state, rows) + step, rows.length - 1));
  return { ...state, cursor, chosen: rows[cursor] && identity(rows[cursor]) };
}

function drilledDown(state: TuiState, report: Report, width: number): TuiState {
  const { place } = state;
  const rows = visibleRows(state, report, width);
  const row = rows[cursorAmong(state, rows)];
  const next = row && below(place, row);
  return next === undefined ? state : { ...state, place: next, back: [...state.back, place], ...AT_THE_TOP };
}

function visibleColumns({ place, total, times }: TuiState, report: Report, width: number): readonly ExitColumn[] {
  const severalMachines = report.machines.length > 1 && place.pid === undefined;
  const severalSources = new Set(report.rows.map(({ source }) => source)).size > 1;
  return columnsFor(place.level, width, { total, times, severalMachines, severalSources });
}

/** The chosen column, or the one with the rate or count when this table does not have it. */
function sortColumn({ sort }: TuiState, columns: readonly ExitColumn[]): ExitColumn {
  return columns.find(({ title }) => title === sort) ?? columns.find(({ title }) => /^(RATE\/s|COUNT)$/.test(title))!;
}

function visibleRows(state: TuiState, report: Report, width: number): ExitRow[] {
  const shown = rowsAt(state.place, report).filter((row) => matches(row, state.filter));
  return sortRows(shown, sortColumn(state, visibleColumns(state, report, width)));
}

/** What makes a row the same in the next frame, where others may have come before it. */
function identity({ pid, source, reason, detail, vcpu, device, rip }: ExitRow): string {
  return [pid, source, reason, detail, vcpu, device, rip].join(" ");
}

function cursorAmong({ cursor, chosen }: TuiState, rows: readonly ExitRow[]): number {
  const found = chosen === undefined ? -1 : rows.findIndex((row) => identity(row) === chosen);
  return found === -1 ? Math.min(cursor, Math.max(0, rows.length - 1)) : found;
}

/** What is on the screen: its lines, and which of them is the chosen row's (-1 for none). */
export interface Picture {
  readonly lines: readonly string[];
  readonly marked: number;
}

/** Of more machines the first line tells how many there are. */
const MOST_NAMES = 3;

/** A frame: exactly `rows` lines, notes and counters cut to `columns` at their words. */
export function picture(report: Report, state: TuiState, rows: number, columns = 80): Picture {
  const head = [
    `perf-kvm top: ${summaryLine(report, MOST_NAMES)}${placeText(state)}`,
    ...report.notes.map((note) => `! ${note}`),
    // Help needs the room.
    ...(state.help ? [] : [timeText(report, state), countersText(report, state)]),
  ];
  const headLines = [...head.filter((line) => line !== "").flatMap((line) => wrapped(line, columns)), ""];
  const sort = sortColumn(state, visibleColumns(state, report, columns)).title;
  const foot =
    state.typing === undefined
      ? `sorted by ${sort}   q quit  <> sort  f filter  p freeze  t total  1-6 by  h help`
      : `filter: ${state.typing}_`;
  const { lines: body, marked } = state.help
    ? { lines: HELP, marked: -1 }
    : table(report, state, rows - headLines.length - 1, columns);
  const lines = [...headLines, ...body].slice(0, rows - 1);
  const padding = Array.from({ length: rows - 1 - lines.length }, () => "");
  const line = marked === -1 ? -1 : headLines.length + marked;
  return { lines: [...lines, ...padding, foot], marked: line < rows - 1 ? line : -1 };
}

export function frame(report: Report, state: TuiState, rows: number, columns = 80): readonly string[] {
  return picture(report, state, rows, columns).lines;
}

/** KVM's own counters of the machines in view, together. */
function countersText({ stats, seconds }: Report, { place }: TuiState): string {
  const inView = stats.filter(({ pid }) => place.pid === undefined || place.pid === pid);
  const sums: Record<string, number> = {};
  for (const { counters } of inView)
    for (const [name, count] of Object.entries(counters)) sums[name] = (sums[name] ?? 0) + count;
  const text = statsText(sums, seconds);
  return text === "" ? "" : `${inView.length === 1 ? inView[0]!.machine : "all"}: ${text}`;
}

function timeText({ times = [] }: Report, { place }: TuiState): string {
  const line = timeLine(times.filter(({ pid }) => place.pid === undefined || place.pid === pid));
  return line === "" ? "" : `time: ${line}`;
}

function placeText({ place, total, frozen, filter }: TuiState): string {
  const title = placeTitle(place);
  return [
    title === "" ? "" : `  ${title}`,
    total ? "  TOTAL" : "",
    frozen ? "  FROZEN" : "",
    filter === "" ? "" : `  filter: ${filter}`,
  ].join("");
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

function table(report: Report, state: TuiState, room: number, width: number): Picture {
  if (report.machines.length === 0) return { lines: ["waiting for a VM; `vmm run` starts one"], marked: -1 };
  const columns = visibleColumns(state, report, width);
  const rows = visibleRows(state, report, width);
  const header = headerLine(columns);
  if (rows.length === 0) {
    const why = state.filter === "" ? "no exits in this period" : "no row has this text";
    const never = whyEmpty(state.place, report);
    if (never !== undefined) return { lines: wrapped(never, width), marked: -1 };
    return { lines: [header, why], marked: -1 };
  }
  const cursor = cursorAmong(state, rows);
  // The chosen row is always to be seen: as far down as it must be.
  const first = Math.max(0, cursor - Math.max(0, room - 2));
  const lines = rows.slice(first, first + Math.max(0, room - 1)).map((row) => rowLine(row, columns));
  const { rip, why } = rows[cursor]!;
  // The last line of the table's room says what an address lacks.
  if (why !== undefined && room > 3)
    return {
      lines: [header, ...lines.slice(0, room - 2), `no name for ${rip}: ${why}`.slice(0, width)],
      marked: 1 + cursor - first,
    };
  return { lines: [header, ...lines], marked: 1 + cursor - first };
}

const NOTHING: Report = { seconds: 0, machines: [], rows: [], stats: [], lost: 0, notes: [] };

/** Takes the terminal; `close` gives it back. */
export function openTui() {
  const { stdin, stdout } = process;
  const screen = new Screen(stdout.columns, stdout.rows, (text) => void stdout.write(text));
  let state = INITIAL_STATE;
  let latest = NOTHING;
  let total = (): Report => NOTHING;
  let shown = NOTHING;
  let ended!: () => void;
  const quit = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const redraw = (): void => {
    const { lines, marked } = picture(shown, state, screen.rows, screen.columns);
    screen.draw(lines, marked);
  };
  const choose = (): void => {
    shown = state.total ? total() : latest;
  };
  const onKey = (bytes: Buffer): void => {
    for (const key of keysOf(bytes.toString("utf8"))) {
      const before = state;
      const next = pressed(state, key, shown, screen.columns);
      if (next === undefined) {
        ended();
        return;
      }
      state = next;
      if (state.frozen && !before.frozen) {
        // The total stands still as well.
        const frozen = total();
        total = () => frozen;
      }
      if (state.total !== before.total) choose();
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
    show(report: Report, totalOf: () => Report): void {
      if (!state.frozen) {
        latest = report;
        total = totalOf;
        choose();
      }
      redraw();
    },
    finish(): void {},
  };
}

/** `ESC [ A`, `ESC [ 5 ~`: a letter or a tilde ends it. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with one
const SEQUENCE = /^\x1b\[[0-9;]*[A-Za-z~]/;
const LONGEST_SEQUENCE = 8;

/** Splits what a terminal sent into keys: a character, or an escape sequence. */
export function keysOf(text: string): string[] {
  const keys: string[] = [];
  for (let at = 0; at < text.length; ) {
    const length = SEQUENCE.exec(text.slice(at, at + LONGEST_SEQUENCE))?.[0].length ?? 1;
    keys.push(text.slice(at, at + length));
    at += length;
  }
  return keys;
}
