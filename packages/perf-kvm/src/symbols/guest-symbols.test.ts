/** Names of guest addresses: from a real ELF file, from kallsyms and modules as Linux prints them, and from anything that is none. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { addressOf, addressText } from "./address.js";
import { readElfSymbols } from "./elf-symbols.js";
import { GuestSymbols } from "./guest-symbols.js";
import { parseKallsyms } from "./kallsyms.js";
import { parseModules } from "./modules.js";
import { functionOf } from "./resolver.js";
import { SymbolError } from "./table.js";

const folder = mkdtempSync(join(tmpdir(), "perf-kvm-symbols-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string, content: string | Uint8Array): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};

/** The embedded guest's, from the package that builds it. */
const vmm = createRequire(import.meta.url).resolve("@tools-kvm/vmm/package.json");
const ELF = join(dirname(createRequire(vmm).resolve("@tools-kvm/firmware/package.json")), "dist/guest.symbols");

const KALLSYMS = `0000000000000000 A fixed_percpu_data
ffffffff9a000000 T _stext
ffffffff9a000040 T secondary_startup_64
ffffffff9a0001a0 t do_one_initcall
ffffffff9a0001a0 t an_alias
ffffffff9b000000 D jiffies
ffffffffc0123000 t probe\t[virtio_net]
ffffffffc0123100 t xmit_skb\t[virtio_net]
`;
const kallsyms = file("kallsyms", KALLSYMS);
const modules = file(
  "modules",
  "virtio_net 61440 0 - Live 0xffffffffc0123000\nnfs 4096 1 a,b, Live 0xffffffffc0300000 (OE)\n",
);
const at = (digits: string): number => addressOf(digits);

describe("addresses", () => {
  it("are exact in both halves, and print as the manual does", () => {
    expect(at("ffffffff81000123")).toBe(-0x7efffedd);
    for (const text of ["0", "ffffffff81000123", "7fffffffffff", "ffff800000000001"])
      expect(addressText(at(text))).toBe(`0x${text}`);
    expect(at("not hexadecimal")).toBeNaN();
  });
});

describe("kallsyms", () => {
  const symbols = GuestSymbols.fromFiles({ kallsyms, modules });
  const said = (digits: string): string | undefined => {
    const found = symbols.resolve(at(digits));
    return "why" in found ? found.why : `${functionOf(found)}+${found.offset}`;
  };

  it("names functions of the kernel and of modules", () => {
    expect(said("ffffffff9a000045")).toBe("secondary_startup_64+5");
    expect(said("ffffffff9a0001a0")).toBe("do_one_initcall+0");
    expect(said("ffffffffc01230ff")).toBe("virtio_net:probe+255");
  });

  it("says why there is no name", () => {
    expect(said("401000")).toBe("user space of the guest");
    expect(said("ffffffffc0300010")).toMatch(/^in module nfs, whose symbols are not given/);
    expect(said("ffffffffc0900000")).toMatch(/^in a module that is not known/);
    expect(said("ffff888000000000")).toMatch(/^outside of the kernel/);
    expect(new GuestSymbols(undefined, "").resolve(5)).toEqual({
      why: expect.stringContaining("--guest-kallsyms FILE"),
    });
  });

  it.each([
    ["", "there is no function in it"],
    ["ffffffff9a000000 T\n", "line 1 is none of kallsyms"],
    ["0000000000000000 T a\n0000000000000000 t b\n", "all addresses are 0: the guest hides them"],
  ])("that is none is refused: %j", (text, why) => {
    expect(() => GuestSymbols.fromFiles({ kallsyms: file("bad", text) })).toThrow(why);
  });

  it("has 200,000 functions in no time worth a word", () => {
    const lines = Array.from({ length: 200_000 }, (_, i) => `ffffffff${(0x8100_0000 + 64 * i).toString(16)} T f${i}`);
    const table = parseKallsyms(`${lines.join("\n")}\n`);
    expect(table.size).toBe(200_000);
    expect(table.find(at("ffffffff81835005"))?.name).toBe(`f${Math.floor(0x835005 / 64)}`);
  });
});

describe("an ELF file", () => {
  it("gives the functions that nm finds, where nm finds them", () => {
    const table = readElfSymbols(ELF);
    const lines = spawnSync("nm", [ELF], { encoding: "utf8" }).stdout.split("\n");
    const functions = lines.flatMap((line) => /^([0-9a-f]{16}) [tT] (.*)$/.exec(line)?.slice(1, 3) ?? []);
    expect(functions.length).toBeGreaterThan(200);
    for (let i = 0; i < functions.length; i += 2) {
      const found = table.find(at(functions[i]!))!;
      const same = lines.filter((line) => line.startsWith(functions[i]!)).map((line) => line.slice(19));
      expect(same).toContain(found.name);
    }
  });

  it("is moved to where kallsyms says that it runs, if both have the kernel's beginning", () => {
    const table = readElfSymbols(ELF);
    const begin = table.addressOf("apic_id")!;
    expect(table.moved(0x1000).find(begin + 0x1000)?.name).toBe("apic_id");
    expect(() => GuestSymbols.fromFiles({ vmlinux: ELF, kallsyms })).toThrow(`${ELF}: has no _stext`);
  });

  it("that is none, is cut or is broken is refused in one line", () => {
    const bytes = readFileSync(ELF);
    for (const [content, why] of [
      ["text", "truncated: the ELF header"],
      [new Uint8Array(100), "not an ELF file"],
      [bytes.subarray(0, 5000), "truncated: its section headers"],
    ] as const) {
      expect(() => GuestSymbols.fromFiles({ vmlinux: file("broken", content) })).toThrow(why);
    }
    expect(() => GuestSymbols.fromFiles({ vmlinux: folder })).toThrow("not a file");
    expect(() => GuestSymbols.fromFiles({ vmlinux: join(folder, "none") })).toThrow("there is no such file");
  });
});

describe("whatever the bytes", () => {
  const only = (work: () => unknown): void => {
    try {
      work();
    } catch (error) {
      expect(error).toBeInstanceOf(SymbolError);
    }
  };

  it("a mutated ELF file is read or refused", () => {
    const bytes = readFileSync(ELF);
    const change = fc.tuple(
      fc.oneof(fc.nat(63), fc.integer({ min: bytes.length - 1024, max: bytes.length - 1 })),
      fc.nat(255),
    );
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), fc.option(fc.nat(bytes.length)), (changes, cut) => {
        const mutated = Uint8Array.from(bytes.subarray(0, cut ?? bytes.length));
        for (const [offset, value] of changes) if (offset < mutated.length) mutated[offset] = value;
        only(() => readElfSymbols(file("mutated", mutated)).find(0x100100));
      }),
      { numRuns: 500 },
    );
  });

  it("mutated text is read or refused", () => {
    const lines = fc.array(fc.oneof(fc.string(), fc.constantFrom(...KALLSYMS.split("\n"))), { maxLength: 20 });
    fc.assert(
      fc.property(lines, (list) => {
        only(() => parseKallsyms(list.join("\n")).find(0));
        only(() => parseModules(list.join("\n")));
      }),
      { numRuns: 2000 },
    );
  });
});
