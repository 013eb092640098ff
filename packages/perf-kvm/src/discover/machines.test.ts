import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ExitLedger, Kvm } from "@tools-kvm/kvm-binding";
import { hasKvm, NEEDS_KVM } from "tools-testing";
import { afterAll, describe, expect, it } from "vitest";
import { openMachine, processes, vcpusOf, vcpuThreads } from "./machines.js";

const scratch = mkdtempSync(join(tmpdir(), "discover-"));
afterAll(() => rmSync(scratch, { recursive: true }));

/** A /proc with one process that holds these descriptors. */
function procWith(pid: number, ...descriptors: string[]): string {
  const proc = mkdtempSync(join(scratch, "proc-"));
  mkdirSync(join(proc, String(pid), "fd"), { recursive: true });
  descriptors.forEach((target, fd) => {
    symlinkSync(target, join(proc, String(pid), "fd", String(fd)));
  });
  return proc;
}

describe("discovery", () => {
  it("knows a machine by its descriptors", () => {
    const proc = procWith(7, "/dev/null", "anon_inode:kvm-vm", "anon_inode:kvm-vcpu:10", "anon_inode:kvm-vcpu:9");
    expect(vcpusOf(7, proc)).toEqual([9, 10]);
    expect(vcpusOf(8, proc)).toBeUndefined();
  });

  it("takes descriptors that only look alike for what they are", () => {
    const proc = procWith(7, "/tmp/anon_inode:kvm-vm", "anon_inode:kvm-vcpu:", "anon_inode:kvm-vcpu:1x", "socket:[1]");
    expect(vcpusOf(7, proc)).toBeUndefined();
  });

  it("lists processes in order, and nothing else of /proc", () => {
    const proc = procWith(30);
    for (const name of ["4", "1x", "self", "sys"]) mkdirSync(join(proc, name));
    writeFileSync(join(proc, "99"), "");
    expect(processes(proc)).toEqual([4, 30, 99]);
    expect(processes(join(proc, "nowhere"))).toEqual([]);
  });

  it("finds nothing at a process that is gone or never was", () => {
    expect(openMachine(2 ** 22 + 1)).toBeUndefined();
    expect(openMachine(process.pid)).toBeUndefined();
  });

  it.skipIf(!hasKvm)(`finds the VM of a process, with its vCPUs and its ledger${NEEDS_KVM}`, () => {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    using vcpu = vm.createVcpu(3);
    expect(vcpusOf(process.pid)).toEqual([vcpu.id]);
    const unnamed = openMachine(process.pid)!;
    expect(unnamed).toMatchObject({ pid: process.pid, vcpuIds: [3], ledger: undefined });
    // Nobody says which threads run vCPUs: all may.
    expect(vcpuThreads(unnamed)).toContainEqual({ tid: process.pid, vcpu: null });
    expect(vcpuThreads(unnamed, [3])).toEqual([]);

    using _ledger = ExitLedger.create({ machineName: "mine", vcpuIds: [3] });
    const named = openMachine(process.pid)!;
    expect(named.name).toBe("mine");
    named.ledger!.close();
  });

  it.skipIf(!hasKvm)(`shows a foreign process's name without what would steer a terminal${NEEDS_KVM}`, async () => {
    // The process's comm is the file's name; it opens a VM by itself.
    const kvm = new URL("../../../kvm-binding/dist/index.js", import.meta.url).href;
    const code = `process.title = "\\x1b[2Jx\\ny"; import(${JSON.stringify(kvm)}).then(({ Kvm }) => {
      globalThis.vm = Kvm.open().createVm(); console.log("ready"); setTimeout(() => {}, 60_000); });`;
    const child = spawn(process.execPath, ["-e", code], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      await new Promise((resolve) => child.stdout.once("data", resolve));
      expect(openMachine(child.pid!)?.name).toMatch(/^[\x20-\x7e]+$/);
    } finally {
      child.kill("SIGKILL");
    }
  });
});
