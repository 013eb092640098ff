/** What a running machine says of its kernel's symbols, and what becomes of it. */
import { ExitLedger } from "@tools-kvm/kvm-binding";
import { hasKvm, NEEDS_KVM, PERF_KVM, Scratch } from "tools-testing";
import { afterAll, describe, expect, it } from "vitest";
import { readElfSymbols } from "./elf-symbols.js";
import { symbolsOfMachines } from "./machine-symbols.js";

const scratch = new Scratch(PERF_KVM);
afterAll(() => scratch.close());

describe.skipIf(!hasKvm)(`a running machine${NEEDS_KVM}`, () => {
  it("names the embedded guest's functions without being asked for files", async () => {
    const machine = await scratch.machine("named");
    const [ledger] = ExitLedger.openPid(machine.pid);
    const place = ledger!.guestSymbols;
    ledger!.close();
    const path = place !== undefined && "path" in place ? place.path : "";
    const address = readElfSymbols(path).addressOf("pio_loop")!;
    expect(symbolsOfMachines({})({ pid: machine.pid }).resolve(address + 2)).toEqual({ name: "pio_loop", offset: 2 });
  });

  it("that says nothing, or is gone, leaves addresses without names and says why", () => {
    const resolver = symbolsOfMachines({})({ pid: process.pid });
    expect(resolver.resolve(0x1000)).toEqual({ why: expect.stringContaining("no symbols of the guest are given") });
  });

  it("is not asked where a file was given, which has to be one", () => {
    expect(() => symbolsOfMachines({ kallsyms: scratch.path("none") })).toThrow("there is no such file");
  });
});
