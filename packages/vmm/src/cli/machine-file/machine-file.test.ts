/** Machine files: what is written is read back, whatever it is, and what is wrong in one is one line with its place. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { hasKvm, NEEDS_KVM, Scratch, VMM } from "tools-testing";
import { afterAll, describe, expect, it } from "vitest";
import { CliError } from "../errors.js";
import { FIELDS, optionKey } from "./fields.js";
import { type Item, type ItemForm, wholePath } from "./items.js";
import { machineOptions } from "./read.js";
import { machineFileSchema } from "./schema.js";
import { type MachineFile, machineFile } from "./write.js";

const scratch = new Scratch(VMM);
afterAll(() => scratch.close());

const AT = { name: "m.json", folder: "/machines" };

/** Any text that a word behind a comma can be. */
const word = fc.string({ minLength: 1, maxLength: 12 }).filter((text) => !/[,\0]/.test(text));
const path = fc
  .array(
    fc.string({ minLength: 1, maxLength: 8 }).filter((text) => !/[,/\0]/.test(text) && !/^\.\.?$/.test(text)),
    { minLength: 1, maxLength: 3 },
  )
  .map((parts) => `/${parts.join("/")}`);

function anyItem({ properties, required }: ItemForm): fc.Arbitrary<Item> {
  const parts = Object.entries(properties).map(([key, property]): [string, fc.Arbitrary<Item[string]>] => {
    if (property.kind === "flag") return [key, fc.constant(true)];
    if (property.kind === "number") return [key, fc.nat()];
    if (property.kind === "texts") return [key, fc.array(word, { minLength: 1, maxLength: 3 })];
    if (property.choices !== undefined) return [key, fc.constantFrom(...property.choices)];
    if (property.path === wholePath) return [key, path];
    // A share's tag ends at the first equals sign.
    return [key, word.filter((text) => !text.includes("="))];
  });
  return fc.record(Object.fromEntries(parts), { requiredKeys: [...required] }) as fc.Arbitrary<Item>;
}

const anyFile = fc.record(
  Object.fromEntries(
    Object.entries(FIELDS).map(([name, field]): [string, fc.Arbitrary<MachineFile[string]>] => {
      if (field.kind === "flag") return [name, fc.boolean()];
      if (field.kind === "quantity") return [name, fc.oneof(fc.nat(), fc.constantFrom("512M", "1.5G"))];
      if (field.kind === "paths") return [name, fc.array(path, { minLength: 1, maxLength: 3 })];
      if (field.kind === "items") return [name, fc.array(anyItem(field.form), { minLength: 1, maxLength: 3 })];
      if (field.choices !== undefined) return [name, fc.constantFrom(...field.choices)];
      return [name, field.path === undefined ? word : path.map((each) => (field.path!(each) ? each : "stdio"))];
    }),
  ),
  { requiredKeys: [] },
) as fc.Arbitrary<MachineFile>;

describe("a machine file", () => {
  it("means the command line that it was made of, and the other way round", () => {
    fc.assert(
      fc.property(anyFile, (file) => {
        const options = machineOptions(JSON.parse(JSON.stringify(file)), AT);
        expect(machineFile(options, "/elsewhere")).toEqual(file);
        expect(machineOptions(machineFile(options, "/elsewhere"), AT)).toEqual(options);
      }),
    );
  });

  it("has an option for every property, under the same name", () => {
    const { stdout } = spawnSync(process.execPath, [VMM, "run", "--help"], { encoding: "utf8" });
    for (const name of Object.keys(FIELDS)) {
      expect(stdout).toMatch(new RegExp(`^ +--${name === "reboot" ? "no-reboot" : name}[ \\n]`, "m"));
    }
    // What a machine is; the rest is how it is watched.
    const options = [...stdout.matchAll(/^ +--([a-z-]+)/gm)].map(([, name]) => name!.replace(/^no-/, ""));
    expect(new Set(options)).toEqual(new Set([...Object.keys(FIELDS), "config", "exits", "json"]));
  });

  it("takes paths as relative to itself", () => {
    const json = { kernel: "bzImage", disk: ["a.img,ro"], share: { tag: "t", dir: "../d" }, serial: "file:log" };
    expect(machineOptions(json, AT)).toEqual({
      kernel: "/machines/bzImage",
      disk: ["/machines/a.img,ro"],
      share: ["t=/d"],
      serial: "file:/machines/log",
    });
  });

  it.each<[unknown, string]>([
    [[], "not an object with a machine's properties"],
    [{ cpu: 1 }, "cpu: there are name, kernel, "],
    [{ cpus: -1 }, "cpus: a whole number, or a text"],
    [{ irqchip: "none" }, "irqchip: one of kernel, split"],
    [{ rng: "yes" }, "rng: true or false"],
    [{ disk: [{ format: "raw" }] }, "disk[0]: file is missing"],
    [{ disk: [{ file: "a" }, { file: "b", cache: "none" }] }, "disk[1].cache: one of writeback, direct"],
    [{ disk: { file: "a,b" } }, "disk: a comma"],
    [{ disk: { file: "a", size: 1 } }, "disk.size: there are file, format, "],
    [{ kernel: "a\0b" }, "kernel: a text without zero bytes"],
    [JSON.parse('{"__proto__": {"rng": true}}'), "__proto__: there are name, "],
    [{ disk: [JSON.parse('{"file": "a", "__proto__": 1}')] }, "disk[0].__proto__: there are file, "],
  ])("%j is refused in one line", (json, why) => {
    expect(() => machineOptions(json, AT)).toThrow(CliError);
    expect(() => machineOptions(json, AT)).toThrow(`--config m.json: ${why}`);
  });

  it("is refused with a CliError, if at all, whatever JSON it is", () => {
    const names = fc.constantFrom(...Object.keys(FIELDS), "__proto__", "constructor");
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), fc.dictionary(names, fc.jsonValue())), (json) => {
        try {
          const options = machineOptions(json, AT);
          for (const key of Object.keys(options)) expect(Object.keys(FIELDS).map(optionKey)).toContain(key);
        } catch (error) {
          expect(error).toBeInstanceOf(CliError);
          expect((error as Error).message).not.toContain("\n");
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("has a schema with the same names", () => {
    const { properties } = machineFileSchema() as { properties: Record<string, unknown> };
    expect(Object.keys(properties)).toEqual(Object.keys(FIELDS));
  });
});

describe.skipIf(!hasKvm)(`vmm run --config${NEEDS_KVM}`, () => {
  it("runs what vmm config has written, and the command line goes before it", async () => {
    const line = ["--cpus", "2", "--memory", "64M", "--append", "quiet run=smp; poweroff", "--rng"];
    const { stdout: json } = await scratch.run(["config", ...line]);
    expect(JSON.parse(json)).toMatchObject({ cpus: 2, memory: "64M", rng: true, irqchip: "kernel", reboot: true });
    const file = scratch.file("machine.json", json);
    const run = await scratch.run(["run", "--config", file]);
    expect(run).toMatchObject({ status: 0 });
    expect(run.stdout).toContain("APIC id 1");
    const one = await scratch.run(["run", "--config", file, "--cpus", "1"]);
    expect(one.stdout).not.toContain("APIC id 1");
  });

  it("finds a serial log beside the file", async () => {
    const file = scratch.file(
      "log.json",
      JSON.stringify({ serial: "file:serial.log", append: "quiet run=echo beside; poweroff" }),
    );
    expect((await scratch.run(["run", "--config", file])).status).toBe(0);
    expect(readFileSync(join(dirname(file), "serial.log"), "latin1")).toContain("beside");
  });
});

describe("a file that is no machine file", () => {
  it.each<[string, string | Uint8Array, string]>([
    ["empty", "", "Unexpected end of JSON input"],
    ["no JSON", "cpus: 2", "Unexpected token"],
    ["large", new Uint8Array(2 ** 20 + 1).fill(0x20), "larger than 1 MiB"],
    ["binary", Uint8Array.of(0x22, 0xff, 0x22), "not UTF-8"],
    ["deep", "[".repeat(500_000), ""],
  ])("is one line, and exit code 2: %s", async (name, bytes, why) => {
    const file = scratch.file(`bad-${name}`, bytes);
    const { status, stderr } = await scratch.run(["config", "--config", file]);
    expect(stderr.startsWith(`vmm: --config ${file}: ${why}`)).toBe(true);
    expect(stderr.trimEnd()).not.toContain("\n");
    expect(status).toBe(2);
  });

  it("that is not there is one line, too", async () => {
    const { status, stderr } = await scratch.run(["run", "--config", scratch.path("nowhere.json")]);
    expect(stderr).toBe(`vmm: --config ${scratch.path("nowhere.json")}: no such file or folder\n`);
    expect(status).toBe(2);
  });
});
