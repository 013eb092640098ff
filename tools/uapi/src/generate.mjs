#!/usr/bin/env node
/**
 * Writes packages/kvm-binding/src/generated/*.ts from the kernel headers of this machine, and beside the C++ sources a copy of newer.h,
 * so that the package can be built alone.
 *
 *   node tools/uapi/src/generate.mjs          write the files
 *   node tools/uapi/src/generate.mjs --check  say which differ, exit 1 if any does
 *
 * A C program that knows the names of names.mjs is written, compiled and run; it prints one line a value. No number is typed by hand.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { headers, kvmConstants, perfAttrBits, perfConstants, structs, systemConstants } from "./names.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const packageFolder = join(here, "../../../packages/kvm-binding");
const newerHeader = join(here, "../newer.h");

/** @typedef {{ path: string, type: string, offset: number, count: number }} FieldFact */
/** @typedef {{ constants: Map<string, bigint>, sizes: Map<string, number>, fields: Map<string, FieldFact[]>, attrBits: Map<string, number> }} Facts */

/** Members that later kernels (or the compiler) have under a name the 6.1 headers lack: where they are, as C. */
const placed = new Map([
  ["Run.memory_fault.flags", memberOf("struct tools_kvm_memory_fault_exit", "flags", "offsetof(struct kvm_run, hw)")],
  ["Run.memory_fault.gpa", memberOf("struct tools_kvm_memory_fault_exit", "gpa", "offsetof(struct kvm_run, hw)")],
  ["Run.memory_fault.size", memberOf("struct tools_kvm_memory_fault_exit", "size", "offsetof(struct kvm_run, hw)")],
  [
    "PerfEventAttr.bits",
    { type: '"u64"', offset: "offsetof(struct perf_event_attr, read_format) + sizeof(__u64)", count: "1" },
  ],
]);

/** @param {string} c @param {string} member @param {string} base */
function memberOf(c, member, base) {
  return { type: `KIND(((${c} *)0)->${member})`, offset: `${base} + offsetof(${c}, ${member})`, count: "1" };
}

/** @param {string} spec one field in the notation of names.mjs */
function parseField(spec) {
  const [path, type] = /** @type {[string, string | undefined]} */ (spec.split(":"));
  const array = path.includes("[]");
  return { path: path.replaceAll("[]", ""), element: path.replaceAll("[]", "[0]"), array, type };
}

/** @returns {string} the C program */
export function program() {
  const lines = headers.map((header) => `#include ${header === "newer.h" ? `"${header}"` : `<${header}>`}`);
  lines.push(
    '#define KIND(x) _Generic((x), char: "u8", signed char: "i8", unsigned char: "u8", short: "i16", unsigned short: "u16", \\',
    '  int: "i32", unsigned int: "u32", long: "i64", long long: "i64", unsigned long: "u64", unsigned long long: "u64")',
    "int main(void) {",
  );
  for (const { names } of [...kvmConstants, ...perfConstants, ...systemConstants]) {
    for (const name of names) lines.push(`  printf("C ${name} %llu\\n", (unsigned long long)(${name}));`);
  }
  for (const bit of perfAttrBits) {
    lines.push(
      `  { struct perf_event_attr a; unsigned long long v; memset(&a, 0, sizeof a); a.${bit} = 1;`,
      `    memcpy(&v, (char *)&a + offsetof(struct perf_event_attr, read_format) + 8, 8); printf("B ${bit} %d\\n", __builtin_ctzll(v)); }`,
    );
  }
  for (const { name, c, fields } of structs) {
    lines.push(`  printf("S ${name} %zu\\n", sizeof(${c}));`);
    for (const spec of fields) {
      const { path, element, array, type } = parseField(spec);
      const at = placed.get(`${name}.${path}`);
      const kind = at ? at.type : type ? `"${type}"` : `KIND(((${c} *)0)->${element})`;
      const offset = at ? at.offset : `(unsigned long)&((${c} *)0)->${element}`;
      const whole = `((${c} *)0)->${element.includes("].") ? element.slice(0, element.indexOf("[")) : path}`;
      const one = element.includes("].")
        ? `((${c} *)0)->${element.slice(0, element.indexOf("]") + 1)}`
        : `((${c} *)0)->${element}`;
      const count = at ? at.count : array ? `sizeof(${whole}) / sizeof(${one})` : "0";
      lines.push(
        `  printf("F ${name} ${path} %s %lu %lu\\n", ${kind}, (unsigned long)(${offset}), (unsigned long)(${at ? 0 : count}));`,
      );
    }
  }
  lines.push("  return 0;", "}", "");
  return lines.join("\n");
}

/** Compiles and runs the program. @returns {Facts} */
export function measure() {
  const folder = mkdtempSync(join(tmpdir(), "uapi-"));
  try {
    const source = join(folder, "uapi.c");
    const binary = join(folder, "uapi");
    writeFileSync(source, program());
    execFileSync(
      process.env.CC ?? "cc",
      ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", `-I${join(here, "..")}`, "-o", binary, source],
      {
        stdio: ["ignore", "inherit", "inherit"],
      },
    );
    /** @type {Facts} */
    const facts = { constants: new Map(), sizes: new Map(), fields: new Map(), attrBits: new Map() };
    for (const line of execFileSync(binary, { encoding: "utf8" }).trim().split("\n")) {
      const [kind, name, ...rest] = /** @type {[string, string, ...string[]]} */ (line.split(" "));
      if (kind === "C") facts.constants.set(name, BigInt(rest[0] ?? ""));
      else if (kind === "B") facts.attrBits.set(name, Number(rest[0]));
      else if (kind === "S") {
        facts.sizes.set(name, Number(rest[0]));
        facts.fields.set(name, []);
      } else {
        const [path, type, offset, count] = /** @type {[string, string, string, string]} */ (rest);
        facts.fields.get(name)?.push({ path, type, offset: Number(offset), count: Number(count) });
      }
    }
    return facts;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const banner = (/** @type {string} */ what) =>
  `// Generated by \`npm run generate -w tools-uapi\` (tools/uapi) from the kernel's headers: do not edit.\n// ${what}\n`;

/** @param {bigint} value */
function literal(value) {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) return `0x${value.toString(16)}n`;
  return value < 65536n ? value.toString() : `0x${value.toString(16)}`;
}

/** @param {import("./names.mjs").ConstantGroup[]} groups @param {Facts} facts */
function constants(groups, facts) {
  return groups
    .map(({ title, names }) => {
      const lines = names.map((name) => `export const ${name} = ${literal(facts.constants.get(name) ?? 0n)};`);
      return `\n// ${title}\n${lines.join("\n")}\n`;
    })
    .join("");
}

/** Text of a table number -> name. @param {string} name @param {string} doc @param {string[]} names @param {string} strip @param {Facts} facts */
function nameTable(name, doc, names, strip, facts) {
  const rows = names.map((n) => `  [${literal(facts.constants.get(n) ?? 0n)}, "${n.slice(strip.length)}"],`);
  return `\n/** ${doc} */\nexport const ${name}: ReadonlyMap<number, string> = new Map([\n${rows.join("\n")}\n]);\n`;
}

/** `io.data_offset` -> `ioDataOffset`. @param {string} path */
const camel = (path) =>
  path
    .replace(/^(u|chip)\./, "")
    .replace(/\.bits$/, "")
    .replace(/^s\.regs$/, "sync_regs")
    .replaceAll(/[._]+(\w)/g, (_, letter) => letter.toUpperCase());

/** @type {Record<string, [get: string, set: string, type: string, array: string, bytes: number]>} */
const numbers = {
  u8: ["getUint8", "setUint8", "number", "Uint8Array", 1],
  i8: ["getInt8", "setInt8", "number", "Int8Array", 1],
  u16: ["getUint16", "setUint16", "number", "Uint16Array", 2],
  i16: ["getInt16", "setInt16", "number", "Int16Array", 2],
  u32: ["getUint32", "setUint32", "number", "Uint32Array", 4],
  i32: ["getInt32", "setInt32", "number", "Int32Array", 4],
  u64: ["getBigUint64", "setBigUint64", "bigint", "BigUint64Array", 8],
  i64: ["getBigInt64", "setBigInt64", "bigint", "BigInt64Array", 8],
};

/** @param {FieldFact} field */
function member({ path, type, offset, count }) {
  const name = camel(path);
  const number = numbers[type];
  if (number && count === 0) {
    const [get, set, jsType, , bytes] = number;
    const little = bytes > 1 ? ", true" : "";
    return (
      `  get ${name}(): ${jsType} {\n    return this.view.${get}(${offset}${little});\n  }\n` +
      `  set ${name}(value: ${jsType}) {\n    this.view.${set}(${offset}, value${little});\n  }\n`
    );
  }
  if (number) {
    return `  get ${name}(): ${number[3]} {\n    return this.numbers(${number[3]}, ${offset}, ${count});\n  }\n`;
  }
  if (count === 0) return `  get ${name}(): ${type} {\n    return this.part(${type}, ${offset});\n  }\n`;
  return `  get ${name}(): readonly ${type}[] {\n    return this.parts(${type}, ${offset}, ${count});\n  }\n`;
}

/** @param {Facts} facts */
function layouts(facts) {
  const parts = [];
  for (const { name, c, doc, offsets } of structs) {
    const fields = facts.fields.get(name) ?? [];
    const size = facts.sizes.get(name) ?? 0;
    parts.push(
      `\n/** ${doc} \`${c}\`, ${size} bytes. */\nexport class ${name} extends StructView {\n` +
        `  static override readonly sizeBytes = ${size};\n` +
        `  static override readonly fields = [${fields.map((f) => `"${camel(f.path)}"`).join(", ")}] as const;\n` +
        `${fields.map(member).join("")}}\n`,
    );
    if (offsets) {
      const rows = fields.map(
        (f) =>
          `export const ${offsets}_${f.path
            .replace(/^s\.regs$/, "sync_regs")
            .replaceAll(".", "_")
            .toUpperCase()} = ${f.offset};`,
      );
      parts.push(`\n// Byte offsets inside ${c}, for the run loop\n${rows.join("\n")}\n`);
    }
  }
  return `import { StructView } from "../struct-view.js";\n${parts.join("")}`;
}

/** File name in the package -> text. @param {Facts} facts */
export function render(facts) {
  const named = (/** @type {import("./names.mjs").ConstantGroup[]} */ groups, /** @type {string} */ title) =>
    groups.find((g) => g.title.startsWith(title))?.names ?? [];
  return new Map([
    [
      "src/generated/kvm-constants.ts",
      banner("Constants of <linux/kvm.h> and <asm/kvm.h> (x86).") +
        constants(kvmConstants, facts) +
        nameTable(
          "exitReasonNames",
          "Exit reason -> name without its prefix.",
          named(kvmConstants, "Exit reasons"),
          "KVM_EXIT_",
          facts,
        ) +
        nameTable(
          "capabilityNames",
          "Capability -> name without its prefix.",
          named(kvmConstants, "Capabilities"),
          "KVM_CAP_",
          facts,
        ),
    ],
    [
      "src/generated/perf-constants.ts",
      banner("Constants of <linux/perf_event.h>.") +
        constants(perfConstants, facts) +
        `\n/** Bit numbers of the one-bit members of perf_event_attr (precise_ip is two bits wide). */\nexport const PERF_ATTR_BITS = {\n` +
        [...facts.attrBits].map(([name, bit]) => `  ${camel(name)}: ${bit},\n`).join("") +
        "} as const;\n" +
        nameTable(
          "perfRecordNames",
          "Record type -> name without its prefix.",
          named(perfConstants, "Record types"),
          "PERF_RECORD_",
          facts,
        ),
    ],
    [
      "src/generated/system-constants.ts",
      banner("Constants of <errno.h>, <poll.h>, <linux/if_tun.h>, <linux/openat2.h> and their neighbours.") +
        constants(systemConstants, facts) +
        nameTable("errnoNames", "errno -> name.", named(systemConstants, "errno"), "", facts),
    ],
    [
      "src/generated/layouts.ts",
      banner("Struct layouts of the kernel's interface, as views over bytes.") + layouts(facts),
    ],
    [
      "native/generated/newer.h",
      `// Copied from tools/uapi/newer.h by \`npm run generate -w tools-uapi\`: do not edit.\n${readFileSync(newerHeader, "utf8")}`,
    ],
  ]);
}

/** The files that differ from what the headers say. @returns {string[]} */
export function outdated() {
  return [...render(measure())].flatMap(([file, text]) => {
    try {
      return readFileSync(join(packageFolder, file), "utf8") === text ? [] : [file];
    } catch {
      return [file];
    }
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes("--check")) {
    const files = outdated();
    for (const file of files)
      console.error(`${join("packages/kvm-binding", file)} is not what this machine's headers say`);
    process.exitCode = files.length > 0 ? 1 : 0;
  } else {
    for (const [file, text] of render(measure())) writeFileSync(join(packageFolder, file), text);
  }
}
