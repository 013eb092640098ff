import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { matchVcpus, threadsOf, vcpuOfName } from "./vcpu-threads.js";

const scratch = mkdtempSync(join(tmpdir(), "vcpu-threads-"));
afterAll(() => rmSync(scratch, { recursive: true }));

const PID = 7;
const KVM_RUN = "0xae80";

/** A /proc with process 7, whose threads have these names and are in these system calls. */
function procWith(threads: Readonly<Record<number, readonly [name: string, syscall: string]>>): string {
  const proc = mkdtempSync(join(scratch, "proc-"));
  for (const [tid, [name, syscall]] of Object.entries(threads)) {
    const task = join(proc, String(PID), "task", tid);
    mkdirSync(task, { recursive: true });
    writeFileSync(join(task, "comm"), `${name}\n`);
    writeFileSync(join(task, "syscall"), `${syscall}\n`);
  }
  return proc;
}

const match = (proc: string, vcpus: { fd: number; id: number }[], known = new Map<number, number>()) =>
  matchVcpus(PID, vcpus, threadsOf(PID, proc), known, proc);

const TWO = [
  { fd: 20, id: 0 },
  { fd: 21, id: 1 },
];

describe("the threads of vCPUs", () => {
  it.each([
    ["CPU 12/KVM", 12],
    ["fc_vcpu 3", 3],
    ["vcpu0", 0],
    ["crosvm_vcpu1", 1],
    ["kvm-vcpu-2", 2],
    ["CPU 0/TCG", undefined],
    ["vcpu", undefined],
    ["my vcpu0", undefined],
  ])("are known by their names: %s is %s", (name, id) => {
    expect(vcpuOfName(name)).toBe(id);
  });

  it("are found by name, whatever they do", () => {
    const proc = procWith({ 7: ["qemu", "running"], 8: ["CPU 0/KVM", "running"], 9: ["CPU 1/KVM", "202 0x1 0x2"] });
    expect(match(proc, TWO)).toEqual([
      { id: 0, tid: 8, thread: "CPU 0/KVM" },
      { id: 1, tid: 9, thread: "CPU 1/KVM" },
    ]);
  });

  it("are found by the KVM_RUN they are in, and unknown while they are not", () => {
    const proc = procWith({
      7: ["qemu", "16 0x14 0x5401"],
      8: ["qemu", `16 0x15 ${KVM_RUN} 0x0`],
      9: ["qemu", "running"],
      10: ["qemu", `202 0x14 ${KVM_RUN}`],
      11: ["qemu", "-1 0x0 0x0"],
      12: ["qemu", ""],
      13: ["kvm-nx-lpage-re", `16 0x14 ${KVM_RUN} 0x0`],
    });
    expect(match(proc, TWO)).toEqual([
      { id: 0, tid: null, thread: null },
      { id: 1, tid: 8, thread: "qemu" },
    ]);
  });

  it("are those that the VMM says before all", () => {
    const proc = procWith({ 7: ["CPU 0/KVM", "running"], 8: ["node", "running"] });
    expect(match(proc, [{ fd: 20, id: 0 }], new Map([[0, 8]]))).toEqual([{ id: 0, tid: 8, thread: "node" }]);
  });

  it("of a process that is gone are none", () => {
    expect(threadsOf(2 ** 22 + 1)).toEqual([]);
    expect(matchVcpus(2 ** 22 + 1, TWO, [], new Map())).toMatchObject([{ tid: null }, { tid: null }]);
  });
});
