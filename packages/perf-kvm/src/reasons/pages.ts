/** The pages of docs/exits, from the data of this folder: one a kind, one section a reason or family. */
import { EXIT_REASONS } from "./catalogue.js";
import { codeText, type ExitReason, type Kind } from "./reason.js";

const INTRODUCTIONS: Readonly<Record<Kind, readonly [title: string, text: string]>> = {
  vmx: [
    "VMX exit reasons",
    "Why a guest leaves on an Intel processor: the basic exit reason, as `kvm_exit` reports it with isa 1. Bit 31 of the number\nsays that the entry failed. Chapters are those of the Intel SDM, volume 3.",
  ],
  svm: [
    "SVM exit codes",
    "Why a guest leaves on an AMD processor: EXITCODE of the control block, as `kvm_exit` reports it with isa 2. From 0x80000001\non they are the calls of encrypted guests, which the tracepoint `kvm_vmgexit_enter` reports. Chapters are those of the AMD APM,\nvolume 2.",
  ],
  pvm: [
    "PVM exit reasons",
    "Why a guest leaves under kvm-pvm, which needs no virtualization by the processor: `kvm_exit` reports these with isa 3, where\nthe kernel has that tracepoint for it. Two numbers are two revisions of PVM's patches.",
  ],
  userspace: [
    "Exits to user space",
    "Why KVM_RUN returns to the VMM: `exit_reason` of `kvm_run`, as `kvm_userspace_exit` and the exit ledger report it.",
  ],
};

/** The page of a kind, as Markdown. */
export function reasonPage(kind: Kind): string {
  const [title, text] = INTRODUCTIONS[kind];
  const command = "perf-kvm explain";
  return [
    `# ${title}`,
    "",
    text,
    `The same text is at hand by \`${command} NAME\` or \`${command} NUMBER\`.`,
    "",
    "Generated from packages/perf-kvm/src/reasons; `npm run generate -w @tools-kvm/perf-kvm` writes it anew.",
    "",
    ...sections(EXIT_REASONS[kind]).flatMap(section),
  ].join("\n");
}

function sections(reasons: readonly ExitReason[]): ExitReason[][] {
  const byTitle = new Map<string, ExitReason[]>();
  for (const reason of reasons) {
    const title = reason.family || reason.name;
    byTitle.set(title, [...(byTitle.get(title) ?? []), reason]);
  }
  return [...byTitle.values()];
}

function section(members: readonly ExitReason[]): string[] {
  const first = members[0]!;
  const { kind, meaning, causes, tries, source } = first;
  const isFamily = first.family !== "";
  const names = [codes(first), ...first.aliases.map((alias) => `\`${alias}\``)];
  return [
    `## ${isFamily ? first.family : first.name}`,
    "",
    isFamily ? `${codeText(kind, first.codes[0]!)} to ${codeText(kind, members.at(-1)!.codes[0]!)}` : names.join(", "),
    "",
    meaning,
    "",
    ...(isFamily ? [...notes(members), ""] : []),
    "Usual causes:",
    "",
    ...causes.map((cause) => `- ${cause}`),
    "",
    "What to try:",
    "",
    ...tries.map((each) => `- ${each}`),
    "",
    `Source: ${source}.`,
    "",
  ];
}

const codes = ({ kind, codes }: ExitReason): string => codes.map((code) => codeText(kind, code)).join(" or ");

/** Members of a family; those with the same note share a line. */
function notes(members: readonly ExitReason[]): string[] {
  const byNote = new Map<string, ExitReason[]>();
  for (const member of members) byNote.set(member.note, [...(byNote.get(member.note) ?? []), member]);
  const rows = [...byNote].map(
    ([note, sharing]) =>
      `| ${sharing.map((each) => codes(each)).join(", ")} | ${sharing.map(({ name }) => `\`${name}\``).join(", ")} | ${note} |`,
  );
  return ["| code | name | |", "| --- | --- | --- |", ...rows];
}
