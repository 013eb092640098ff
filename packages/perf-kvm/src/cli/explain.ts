/** `perf-kvm explain`: what an exit reason means, what usually causes it, and what to try. */
import {
  codeText,
  EXIT_REASONS,
  type ExitReason,
  exitNumber,
  findReasons,
  type Kind,
  nearestNames,
} from "../reasons/catalogue.js";
import { CliError, EXIT } from "./errors.js";

const KIND_TITLES: Readonly<Record<Kind, string>> = {
  vmx: "VMX (Intel) exit reason",
  svm: "SVM (AMD) exit code",
  pvm: "PVM exit reason",
  userspace: "KVM's exit to user space",
};

const LINE_CHARACTERS = 100;

export function explain(text: string | undefined, { json }: { json?: boolean }): number {
  const found = text === undefined ? Object.values(EXIT_REASONS).flat() : findReasons(text);
  if (text !== undefined && found.length === 0) throw new CliError(unknown(text));
  if (json) process.stdout.write(`${JSON.stringify(found.map(jsonReason))}\n`);
  else if (text === undefined) process.stdout.write(list(found));
  else process.stdout.write(found.map((reason) => page(reason)).join("\n"));
  return EXIT.OK;
}

function unknown(text: string): string {
  const shown = text.slice(0, 64).replace(/[^\x20-\x7e]/g, "?");
  const number = exitNumber(text);
  if (number !== undefined) {
    return `explain ${shown}: no exit has the number ${number} (0x${number.toString(16)}); \`perf-kvm explain\` lists all`;
  }
  const near = nearestNames(text);
  const advice = near.length === 0 ? "`perf-kvm explain` lists all" : `the nearest are ${near.join(", ")}`;
  return `explain ${shown}: no exit has this name; ${advice}`;
}

/** One a line, fields apart by tabs where a program reads it: `perf-kvm explain | cut -f3` are all names. */
function list(reasons: readonly ExitReason[]): string {
  const rows = reasons.map((reason) => [reason.kind, codesText(reason), reason.name, firstSentence(reason)]);
  if (!process.stdout.isTTY) return rows.map((row) => `${row.join("\t")}\n`).join("");
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  const room = (process.stdout.columns ?? LINE_CHARACTERS) - widths.reduce((a, b) => a + b + 2, 0);
  return rows
    .map(([kind, codes, name, gist]) => {
      const cells = [
        kind!.padEnd(widths[0]!),
        codes!.padStart(widths[1]!),
        name!.padEnd(widths[2]!),
        gist!.slice(0, Math.max(room, 20)),
      ];
      return `${cells.join("  ").trimEnd()}\n`;
    })
    .join("");
}

function firstSentence({ meaning, note, family }: ExitReason): string {
  return /^.*?[.:](?= |$)/.exec(family === "" ? meaning : note)?.[0] ?? meaning;
}

function codesText({ kind, codes }: ExitReason): string {
  return codes.map((code) => codeText(kind, code)).join("|");
}

function page(reason: ExitReason): string {
  const { kind, name, meaning, note, causes, tries, source, aliases } = reason;
  return [
    `${name}  ${KIND_TITLES[kind]} ${codesText(reason)}${aliases.length === 0 ? "" : `, also ${aliases.join(", ")}`}`,
    ...wrapped([meaning, note].filter((text) => text !== "").join(" "), "  ", "  "),
    "",
    "  Usual causes",
    ...causes.flatMap((cause) => wrapped(cause, "  - ", "    ")),
    "",
    "  What to try",
    ...tries.flatMap((each) => wrapped(each, "  - ", "    ")),
    "",
    ...wrapped(`Source: ${source}`, "  ", "  "),
    "",
  ].join("\n");
}

function wrapped(text: string, first: string, further: string): string[] {
  const width = Math.min(process.stdout.columns ?? LINE_CHARACTERS, LINE_CHARACTERS);
  const lines: string[] = [];
  let line = first;
  for (const word of text.split(" ")) {
    const gap = line === first || line === further ? "" : " ";
    if (line.length + gap.length + word.length > width && gap !== "") {
      lines.push(line);
      line = further + word;
    } else line += gap + word;
  }
  return [...lines, line];
}

function jsonReason({ kind, name, codes, aliases, meaning, note, causes, tries, source }: ExitReason): object {
  return { kind, name, codes, aliases, meaning, note, causes, tries, source };
}
