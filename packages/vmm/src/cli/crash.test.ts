/** What a user sees when a guest cannot go on: one screen, exit code 1. */

import { HANG_MS, hasKvm, NEEDS_KVM, Scratch, VMM } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import { kvmKind } from "../machine/host.js";
import { codeGuest, commands, events } from "./testing.js";

const scratch = new Scratch(VMM);
afterAll(() => scratch.close());
vi.setConfig({ testTimeout: 2 * HANG_MS });
const SCREEN = { LINES: 24, COLUMNS: 80 };

let crashes = 0;

async function crash(kind: string, ...args: string[]) {
  const name = `crash-${++crashes}`;
  const outcome = await scratch.run(["run", "--name", name, "--append", commands(`fault ${kind}`), ...args]);
  return { ...outcome, lines: outcome.stderr.trimEnd().split("\n") };
}

function expectOneScreen(lines: readonly string[]): void {
  expect(lines.length).toBeLessThan(SCREEN.LINES);
  expect(lines.filter((line) => line.length > SCREEN.COLUMNS)).toEqual([]);
}

// On other hosts the instruction that emulators do not know runs.
const emulates = kvmKind() === "pvm";

describe.skipIf(!hasKvm)(`a crash is one screen${NEEDS_KVM}`, { concurrent: true }, () => {
  it("for a triple fault: reason, bytes, registers, where the vCPU stood", async () => {
    const { status, lines } = await crash("triple");
    expect(status).toBe(1);
    expectOneScreen(lines);
    expect(lines[0]).toMatch(/^crash-\d: vCPU 0 stopped: triple fault/);
    expect(lines[1]).toMatch(/^at rip 0x10[0-9a-f]{4}, bytes ([0-9a-f]{2} ?){16}$/);
    const text = lines.join("\n");
    for (const name of ["rip", "rflags", "rax", "r15", "cr3", "efer", "cs", "ldt", "gdt", "idt", "long mode"]) {
      expect(text).toContain(name);
    }
    expect(lines.at(-1)).toMatch(/^next: /);
  });

  it.skipIf(!emulates)("for an instruction that KVM cannot emulate, with its bytes (needs kvm-pvm)", async () => {
    const { status, lines } = await crash("badins");
    expect(status).toBe(1);
    expectOneScreen(lines);
    expect(lines[0]).toMatch(/^crash-\d: vCPU 0 stopped: KVM could not emulate the instruction$/);
    expect(lines[1]).toMatch(/bytes f3 48 0f b8 /);
  });

  it("for a jump to device memory, where there are no bytes", async () => {
    const { status, lines } = await crash("mmio-exec");
    expect(status).toBe(1);
    expectOneScreen(lines);
    expect(lines[1]).toBe("at rip 0xfea00000, bytes not in RAM");
  });

  it("for a 32-bit guest, too", async () => {
    // lidt [0]; int3: no handler, no double fault's either.
    const kernel = scratch.file("crash32.elf", codeGuest([0x0f, 0x01, 0x1d, 0, 0, 0, 0, 0x0f, 0x0b]));
    const { status, stderr } = await scratch.run(["run", "--kernel", kernel]);
    expect(status).toBe(1);
    expect(stderr).toContain("protected mode");
    expectOneScreen(stderr.trimEnd().split("\n"));
  });

  it("and an event with the same content, with --json", async () => {
    const { status, stdout, lines } = await crash("triple", "--json", "--cpus", "2");
    expect(status).toBe(1);
    expect(events(stdout).at(-1)).toMatchObject({
      event: "ended",
      why: "crashed",
      status: 1,
      crash: { vcpu: 0, registers: { mode: "long", rip: expect.stringMatching(/^0x/) } },
    });
    expectOneScreen(lines);
  });
});
