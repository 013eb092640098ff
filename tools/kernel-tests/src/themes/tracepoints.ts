/** KVM's tracepoints: every exit of a known load appears once, with the right fields. What profilers live by. */
import * as b from "@tools-kvm/kvm-binding";
import { between, check, equal } from "../expect.js";
import { asm32, asm64, CODE } from "../guest/code.js";
import { type Machine, type MachineOptions, MMIO, machine } from "../guest/machine.js";
import { HANDLER, HANDLER_ORG, WAIT } from "../guest/snippets.js";
import { themeOf } from "../registry.js";
import { eventFormat, type TraceEvent, traced } from "../tracing.js";

const it = themeOf("tracepoints", "Documentation/trace/events.rst; arch/x86/kvm/trace.h");
const VCPU_ID = 5;
const LOOPS = 100;

const of = (events: readonly TraceEvent[], name: string): string[] =>
  events.filter((event) => event.name === name).map(({ text }) => text);

/** The events while a machine runs to its HLT. */
function tracedRun(events: readonly string[], code: Parameters<typeof machine>[0], options: MachineOptions = {}) {
  using m = machine(code, options);
  return traced(events, () => void m.trace());
}

const pioLoad = asm64`
  mov ecx, ${LOOPS}
1: mov al, cl
  out 0x5a, al
  dec ecx
  jnz 1b
  hlt`;
/** Where pioLoad's OUT is. */
const PIO_OUT = CODE + 7;

it("pio-write", "each port write is one kvm_pio with port, size, count and value", () => {
  equal(
    of(tracedRun(["kvm_pio"], pioLoad), "kvm_pio"),
    Array.from({ length: LOOPS }, (_, i) => `pio_write at 0x5a size 1 count 1 val 0x${(LOOPS - i).toString(16)}`),
    "events",
  );
});

const pioRead = asm64`
  mov dx, 0x5a
  in eax, dx
  in ax, dx
  hlt`;

it("pio-read", "each port read is one kvm_pio, with the value that user space gave", () => {
  using m = machine(pioRead);
  const events = traced(["kvm_pio"], () => {
    for (const value of [0x12345678, 0x9abc]) {
      m.expectExit(b.KVM_EXIT_IO);
      m.answer(value);
    }
    m.expectExit(b.KVM_EXIT_HLT);
  });
  equal(
    of(events, "kvm_pio"),
    ["pio_read at 0x5a size 4 count 1 val 0x12345678", "pio_read at 0x5a size 2 count 1 val 0x9abc"],
    "events",
  );
});

const stringWrite = asm64`
  mov rsi, 0x5000
  mov ecx, 16
  mov dx, 0x5a
  rep outsb
  hlt`;

it("pio-string", "a string write's events count every byte once", () => {
  const counts = of(tracedRun(["kvm_pio"], stringWrite), "kvm_pio").map((text) => Number(/count (\d+)/.exec(text)![1]));
  equal(
    counts.reduce((sum, count) => sum + count, 0),
    16,
    "bytes",
  );
});

it("userspace-exit", "each return of KVM_RUN is one kvm_userspace_exit with its reason", () => {
  equal(
    of(tracedRun(["kvm_userspace_exit"], pioLoad), "kvm_userspace_exit"),
    [...Array(LOOPS).fill("reason KVM_EXIT_IO (2)"), "reason KVM_EXIT_HLT (5)"],
    "events",
  );
});

it("userspace-exit-restart", "an interrupted KVM_RUN is a kvm_userspace_exit that says restart", () => {
  using m = machine(pioLoad);
  m.run.immediateExit = 1;
  const events = traced(["kvm_userspace_exit"], () => equal(m.next(), "-EINTR", "run"));
  equal(of(events, "kvm_userspace_exit"), ["reason restart (4)"], "events");
});

const mmioLoad = asm64`
  mov rbx, ${MMIO}
  mov eax, 0x11223344
  mov [rbx], eax
  mov [rbx + 8], al
  mov eax, [rbx + 16]
  hlt`;

it("mmio", "each MMIO write is one kvm_mmio with length, address and value; a read's comes when it is answered", () => {
  using m = machine(mmioLoad);
  const events = traced(["kvm_mmio"], () => {
    m.expectExit(b.KVM_EXIT_MMIO);
    m.expectExit(b.KVM_EXIT_MMIO);
    m.expectExit(b.KVM_EXIT_MMIO);
    m.answer(0x55667788);
    m.expectExit(b.KVM_EXIT_HLT);
  });
  const lines = of(events, "kvm_mmio");
  const address = (offset: number) => `0x${(MMIO + offset).toString(16)}`;
  equal(
    lines.filter((line) => !line.includes("unsatisfied")),
    [
      `mmio write len 4 gpa ${address(0)} val 0x11223344`,
      `mmio write len 1 gpa ${address(8)} val 0x44`,
      `mmio read len 4 gpa ${address(16)} val 0x55667788`,
    ],
    "events",
  );
  check(lines.filter((line) => line.includes("unsatisfied-read")).length <= 1, "an unsatisfied read is told twice");
});

it("entry-exit", "kvm_entry and kvm_exit take turns: each entry has its exit, and says of which vCPU", () => {
  const events = tracedRun(["kvm_entry", "kvm_exit"], pioLoad, { vcpuId: VCPU_ID });
  check(events.length > 0, "no event");
  const names = events.map(({ name }) => name);
  equal(
    names,
    names.map((_, i) => (i % 2 === 0 ? "kvm_entry" : "kvm_exit")),
    "order",
  );
  for (const { text } of events) check(text.startsWith(`vcpu ${VCPU_ID}`), `another vCPU: ${text}`);
});

it("exit-of-io", "each port write of the guest is one kvm_exit at its address", () => {
  const exits = of(tracedRun(["kvm_exit"], pioLoad), "kvm_exit");
  const ofWrites = exits.filter((text) => text.includes(` rip 0x${PIO_OUT.toString(16)} `));
  // The host's own interrupts may be exits at the same address.
  const interrupts = ofWrites.filter((text) => /reason (EXTERNAL_INTERRUPT|interrupt|nmi|EXCEPTION_NMI)/.test(text));
  equal(ofWrites.length - interrupts.length, LOOPS, "exits at the OUT");
});

it("exit-fields", "kvm_exit has the fields that profilers read", () => {
  const format = eventFormat("kvm_exit");
  for (const field of ["unsigned int exit_reason", "unsigned long guest_rip", "u32 isa", "u64 info1", "u64 info2"])
    check(format.includes(`field:${field};`), `no ${field}`);
  check(/field:unsigned int vcpu_id;/.test(format), "no vcpu_id");
});

it("entry-fields", "kvm_entry has the vCPU's id and RIP", () => {
  const format = eventFormat("kvm_entry");
  check(/field:unsigned int vcpu_id;/.test(format), "no vcpu_id");
  check(/field:unsigned long rip;/.test(format), "no rip");
});

const cpuidLoad = asm64`
  mov eax, 0x40000000
  mov ecx, 0
  cpuid
  hlt`;

it("cpuid", "the guest's CPUID is one kvm_cpuid with leaf and answer", () => {
  const lines = of(tracedRun(["kvm_cpuid"], cpuidLoad), "kvm_cpuid");
  equal(lines.length, 1, "events");
  check(/^func 40000000 idx 0 .*rbx 4b4d564b.* found/.test(lines[0]!), `the event is: ${lines[0]}`);
});

const msrLoad = asm64`
  mov ecx, 0xc0000082
  mov eax, 0x1234
  xor edx, edx
  wrmsr
  mov ecx, 0x1b
  rdmsr
  out 0x70, al
  hlt`;

it("msr", "WRMSR and RDMSR of what KVM intercepts are a kvm_msr each, with number and value", () => {
  using m = machine(msrLoad, { prepare: (vm) => vm.createIrqchip() });
  const lines = of(
    traced(["kvm_msr"], () => void m.expectOut(0x70)),
    "kvm_msr",
  );
  // LSTAR may be the guest's own, without an exit.
  equal(
    lines.filter((line) => line.startsWith("msr_read 1b = ")).length,
    1,
    `reads of IA32_APIC_BASE among ${JSON.stringify(lines)}`,
  );
  for (const line of lines.filter((text) => text.includes("c0000082")))
    equal(line, "msr_write c0000082 = 0x1234", "the write of LSTAR");
});

it("set-irq", "each change of a line is one kvm_set_irq with number and level", () => {
  using m = waiting();
  const events = traced(["kvm_set_irq"], () => {
    m.vm.irqLine(4, 1);
    m.vm.irqLine(4, 0);
  });
  equal(of(events, "kvm_set_irq"), ["gsi 4 level 1 source 0", "gsi 4 level 0 source 0"], "events");
});

const wait = asm32`
  mov dword ptr ds:[0xfee000f0], 0x1ff
  out 0x70, al
  ${WAIT}
  ${HANDLER_ORG}
  out 0x71, al
  hlt`;

function waiting(): Machine {
  return machine(wait, { prepare: (vm) => vm.createIrqchip(), handlers: { 65: HANDLER } });
}

it("msi", "a message is one kvm_msi_set_irq and one kvm_apic_accept_irq, with vector and destination", () => {
  using m = waiting();
  m.expectOut(0x70);
  const events = traced(["kvm_msi_set_irq", "kvm_apic_accept_irq"], () => {
    m.vm.signalMsi({ address: 0xfee00000n, data: 0x41 });
    m.expectOut(0x71);
  });
  const [sent, ...more] = of(events, "kvm_msi_set_irq");
  equal(more.length, 0, "further messages");
  check(/^dst 0 vec 65 \(Fixed\|physical\|edge/.test(sent ?? ""), `the message is: ${sent}`);
  const accepted = of(events, "kvm_apic_accept_irq");
  equal(accepted.length, 1, "accepted interrupts");
  check(/^apicid 0 vec 65 \(Fixed\|edge\)/.test(accepted[0]!), `accepted is: ${accepted[0]}`);
});

it("inject", "an interrupt that reaches the guest is one kvm_inj_virq with its vector", () => {
  using m = waiting();
  m.expectOut(0x70);
  const events = traced(["kvm_inj_virq"], () => {
    m.vm.signalMsi({ address: 0xfee00000n, data: 0x41 });
    m.expectOut(0x71);
  });
  const first = of(events, "kvm_inj_virq").filter((text) => !text.includes("[reinjected]"));
  equal(first.length, 1, "injections");
  check(/(^IRQ 0x41)|(^irq 65)/.test(first[0]!), `the event is: ${first[0]}`);
});

it("filter", "a filter on a field lets through the events that match, and no other", () => {
  const lines = of(tracedRun(["kvm_pio"], twoPorts), "kvm_pio");
  equal(lines.length, 2, "without a filter");
  using m = machine(twoPorts);
  const filtered = traced(["kvm_pio"], () => void m.trace(), { kvm_pio: "port == 0x5b" });
  equal(of(filtered, "kvm_pio"), ["pio_write at 0x5b size 1 count 1 val 0x0"], "with one");
});

const twoPorts = asm64`
  xor eax, eax
  out 0x5a, al
  out 0x5b, al
  hlt`;

it("bad-filter", "a filter on a field that the event has not is EINVAL", () => {
  let code = "";
  try {
    traced(["kvm_pio"], () => {}, { kvm_pio: "no_such_field == 1" });
  } catch (error) {
    code = (error as NodeJS.ErrnoException).code ?? String(error);
  }
  equal(code, "EINVAL", "error");
});

it("several-vcpus", "each vCPU's events carry its own id", () => {
  using m = machine(pioLoad, { vcpuId: VCPU_ID });
  using other = m.vm.createVcpu(VCPU_ID + 1);
  m.enter(pioLoad, other);
  const events = traced(["kvm_entry"], () => {
    for (let i = 0; i < 10; i++) {
      m.vcpu.run();
      other.run();
    }
  });
  const count = (id: number) => of(events, "kvm_entry").filter((text) => text.startsWith(`vcpu ${id},`)).length;
  between(count(VCPU_ID), 10, 1000, "entries of the first");
  between(count(VCPU_ID + 1), 10, 1000, "entries of the second");
});
