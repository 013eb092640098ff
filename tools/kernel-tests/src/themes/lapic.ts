/** The local APIC: timers, interrupts between processors, priorities, x2APIC, and how processors start. */

import type { CpuidEntry, LapicState, Vcpu, Vm } from "@tools-kvm/kvm-binding";
import * as b from "@tools-kvm/kvm-binding";
import { check, equal, needs, refuses, skip } from "../expect.js";
import { asm16, asm32 } from "../guest/code.js";
import { type Machine, machine, nextExit } from "../guest/machine.js";
import { APIC, APIC_ENABLE, APIC_EOI, BACK_TO_WAIT, HANDLER, HANDLER_ORG, WAIT } from "../guest/snippets.js";
import { themeOf } from "../registry.js";

const it = themeOf("lapic", "SDM, Advanced Programmable Interrupt Controller");
const irqchip = (vm: Vm) => vm.createIrqchip();
/** A vCPU with another id than 0 runs at once only as the boot CPU. */
const bootCpu = (id: number) => (vm: Vm) => {
  vm.createIrqchip();
  vm.setBootCpuId(id);
};
const reg = (offset: number): number => APIC + offset;

/** The handler that most guests here have: says 0x77, ends the interrupt, goes on. */
const REPORT = `
  ${HANDLER_ORG}
  out 0x77, al
  ${APIC_EOI}
  ${BACK_TO_WAIT}`;

function apicMachine(code: ReturnType<typeof asm32>, ...vectors: number[]): Machine {
  return machine(code, { prepare: irqchip, handlers: Object.fromEntries(vectors.map((vector) => [vector, HANDLER])) });
}

function register(lapic: LapicState, offset: number): number {
  return new DataView(lapic.bytes.buffer, lapic.bytes.byteOffset).getUint32(offset, true);
}

function setRegister(lapic: LapicState, offset: number, value: number): void {
  new DataView(lapic.bytes.buffer, lapic.bytes.byteOffset).setUint32(offset, value, true);
}

const registers = asm32`
  mov eax, ds:[${reg(0x20)}]
  out 0x10, eax
  mov eax, ds:[${reg(0x30)}]
  out 0x10, eax
  hlt`;

it("id", "the guest reads its vCPU's id in the top byte of the ID register", () => {
  using m = machine(registers, { prepare: bootCpu(5), vcpuId: 5 });
  equal(m.expectOut(0x10), 5 << 24, "ID register");
});

it("version", "the version register says an integrated APIC with its LVT entries", () => {
  using m = machine(registers, { prepare: irqchip });
  m.expectOut(0x10);
  const version = m.expectOut(0x10);
  check((version & 0xf0) === 0x10, `version 0x${version.toString(16)}`);
  check(((version >>> 16) & 0xff) >= 3, "fewer than 4 LVT entries");
});

it("reset-state", "a new local APIC is software-disabled, with every LVT entry masked, at the usual address", () => {
  using m = machine(registers, { prepare: irqchip });
  const lapic = m.vcpu.getLapic();
  equal(register(lapic, 0xf0), 0xff, "spurious vector register");
  for (const offset of [0x320, 0x360, 0x370])
    equal(register(lapic, offset) & 0x10000, 0x10000, `mask in LVT 0x${offset.toString(16)}`);
  equal(m.vcpu.getSregs().apicBase & ~0x100n, 0xfee00800n, "IA32_APIC_BASE but for the BSP flag");
});

it(
  "state",
  "the registers that were read and are written back read the same",
  () => {
    using m = machine(registers, { prepare: irqchip });
    const lapic = m.vcpu.getLapic();
    setRegister(lapic, 0x80, 0x30);
    setRegister(lapic, 0xf0, 0x1ef);
    setRegister(lapic, 0x320, 0x10041);
    setRegister(lapic, 0x3e0, 0xb);
    m.vcpu.setLapic(lapic);
    const back = m.vcpu.getLapic();
    equal(
      [0x80, 0xf0, 0x320, 0x3e0].map((offset) => register(back, offset)),
      [0x30, 0x1ef, 0x10041, 0xb],
      "TPR, SVR, LVT timer, DCR",
    );
  },
  { source: "api.rst, KVM_SET_LAPIC" },
);

it(
  "needs-irqchip",
  "KVM_GET_LAPIC without an in-kernel irqchip is EINVAL",
  () => {
    using m = machine(registers);
    refuses("EINVAL", () => m.vcpu.getLapic());
  },
  { source: "api.rst, KVM_GET_LAPIC" },
);

const selfIpi = asm32`
  ${APIC_ENABLE}
  mov dword ptr ds:[${reg(0x300)}], 0x44040
  ${WAIT}
  ${REPORT}`;

it("self-ipi", "an IPI to itself comes when interrupts are on", () => {
  using m = apicMachine(selfIpi, 0x40);
  m.expectOut(0x77, "the IPI");
});

const oneShot = asm32`
  ${APIC_ENABLE}
  mov dword ptr ds:[${reg(0x3e0)}], 0xb
  mov dword ptr ds:[${reg(0x320)}], 0x41
  mov dword ptr ds:[${reg(0x380)}], 100000
  ${WAIT}
  ${REPORT}`;

it("timer-one-shot", "the timer in one-shot mode interrupts, and its count is 0 then", () => {
  using m = apicMachine(oneShot, 0x41);
  m.expectOut(0x77, "the timer");
  equal(register(m.vcpu.getLapic(), 0x390), 0, "current count");
});

const periodic = asm32`
  ${APIC_ENABLE}
  mov dword ptr ds:[${reg(0x3e0)}], 0xb
  mov dword ptr ds:[${reg(0x320)}], 0x20041
  mov dword ptr ds:[${reg(0x380)}], 500000
  ${WAIT}
  ${REPORT}`;

it("timer-periodic", "the timer in periodic mode interrupts again and again", () => {
  using m = apicMachine(periodic, 0x41);
  for (let i = 0; i < 4; i++) m.expectOut(0x77, `tick ${i}`);
});

const countdown = asm32`
  ${APIC_ENABLE}
  mov dword ptr ds:[${reg(0x3e0)}], 0xb
  mov dword ptr ds:[${reg(0x320)}], 0x10041
  mov dword ptr ds:[${reg(0x380)}], 0xffffffff
1: mov eax, ds:[${reg(0x390)}]
  out 0x10, eax
  jmp 1b`;

it("timer-counts-down", "the current count goes down and never up", () => {
  using m = apicMachine(countdown);
  const counts = Array.from({ length: 20 }, () => m.expectOut(0x10) >>> 0);
  check(
    counts.every((count, i) => i === 0 || count < counts[i - 1]!),
    `counts ${counts.join(", ")}`,
  );
});

/** KVM_GET_SUPPORTED_CPUID leaves the bit out on older kernels, because it needs the in-kernel APIC: user space adds it. */
function cpuidWithTscDeadline(): CpuidEntry[] {
  using kvm = b.Kvm.open();
  return kvm
    .getSupportedCpuid()
    .map((leaf) => (leaf.function === 1 ? { ...leaf, ecx: (leaf.ecx | (1 << 24)) >>> 0 } : leaf));
}

const deadline = asm32`
  ${APIC_ENABLE}
  mov dword ptr ds:[${reg(0x320)}], 0x40041
  rdtsc
  add eax, 1000000
  adc edx, 0
  mov ecx, 0x6e0
  wrmsr
  ${WAIT}
  ${REPORT}`;

it(
  "timer-tsc-deadline",
  "the timer in TSC-deadline mode interrupts when the TSC has passed the deadline, and disarms",
  () => {
    needs("KVM_CAP_TSC_DEADLINE_TIMER");
    using m = machine(deadline, { prepare: irqchip, handlers: { 65: HANDLER }, cpuid: cpuidWithTscDeadline() });
    m.expectOut(0x77, "the timer");
    equal(m.vcpu.getMsrs([0x6e0])[0]!.data, 0n, "IA32_TSC_DEADLINE");
  },
);

const masked = asm32`
  ${APIC_ENABLE}
  mov dword ptr ds:[${reg(0x80)}], 0x50
  mov dword ptr ds:[${reg(0x300)}], 0x44040
  sti
  nop
  out 0x10, al
  mov dword ptr ds:[${reg(0x80)}], 0
  ${WAIT}
  ${REPORT}`;

it("task-priority", "an interrupt below the task priority waits until the priority is lowered", () => {
  using m = apicMachine(masked, 0x40);
  m.expectOut(0x10, "the instruction behind STI");
  m.expectOut(0x77, "the IPI");
});

const nested = asm32`
  ${APIC_ENABLE}
  mov dword ptr ds:[${reg(0x300)}], 0x44040
  mov dword ptr ds:[${reg(0x300)}], 0x44060
  mov dword ptr ds:[${reg(0x300)}], 0x44050
  ${WAIT}
  .org 0x800
  mov al, 0x40; jmp 1f
  .org 0x810
  mov al, 0x50; jmp 1f
  .org 0x820
  mov al, 0x60
1: out 0x77, al
  ${APIC_EOI}
  ${BACK_TO_WAIT}`;

it("highest-first", "of several waiting interrupts the highest vector comes first", () => {
  using m = machine(nested, { prepare: irqchip, handlers: { 64: 0x1800, 80: 0x1810, 96: 0x1820 } });
  equal([m.expectOut(0x77), m.expectOut(0x77), m.expectOut(0x77)], [0x60, 0x50, 0x40], "vectors");
});

const isr = asm32`
  ${APIC_ENABLE}
  mov dword ptr ds:[${reg(0x300)}], 0x44040
  ${WAIT}
  ${HANDLER_ORG}
  mov eax, ds:[${reg(0x120)}]
  out 0x10, eax
  ${APIC_EOI}
  mov eax, ds:[${reg(0x120)}]
  out 0x10, eax
  ${BACK_TO_WAIT}`;

it("in-service", "an interrupt is in the ISR while its handler runs, until the EOI", () => {
  using m = apicMachine(isr, 0x40);
  equal([m.expectOut(0x10), m.expectOut(0x10)], [1, 0], "ISR of vectors 0x40 to 0x5f before and behind the EOI");
});

const waiting = asm32`
  ${APIC_ENABLE}
  out 0x70, al
  ${WAIT}
  ${REPORT}`;

it(
  "msi",
  "KVM_SIGNAL_MSI interrupts the addressed CPU and says that one took it",
  () => {
    needs("KVM_CAP_SIGNAL_MSI");
    using m = apicMachine(waiting, 0x52);
    m.expectOut(0x70);
    equal(m.vm.signalMsi({ address: 0xfee00000, data: 0x52 }), 1, "CPUs");
    m.expectOut(0x77, "the MSI");
  },
  { source: "api.rst, KVM_SIGNAL_MSI" },
);

it(
  "msi-nobody",
  "an MSI for a CPU that does not exist is taken by none, and is no error",
  () => {
    using m = apicMachine(waiting, 0x52);
    m.expectOut(0x70);
    check(m.vm.signalMsi({ address: 0xfee0f000, data: 0x52 }) <= 0, "somebody took it");
  },
  { source: "api.rst, KVM_SIGNAL_MSI" },
);

it(
  "msi-logical",
  "an MSI in logical mode goes to the CPU whose logical ID has the bit",
  () => {
    using m = apicMachine(logical, 0x52);
    m.expectOut(0x70);
    check(m.vm.signalMsi({ address: 0xfee0_1004, data: 0x52 }) <= 0, "the wrong bit was taken");
    equal(m.vm.signalMsi({ address: 0xfee0_4004, data: 0x52 }), 1, "CPUs");
    m.expectOut(0x77, "the MSI");
  },
  { source: "api.rst, KVM_SIGNAL_MSI" },
);

const logical = asm32`
  ${APIC_ENABLE}
  mov dword ptr ds:[${reg(0xe0)}], 0xffffffff
  mov dword ptr ds:[${reg(0xd0)}], 0x04000000
  out 0x70, al
  ${WAIT}
  ${REPORT}`;

it(
  "nmi",
  "KVM_NMI is vector 2, whatever the interrupt flag says",
  () => {
    using m = machine(nmi, { prepare: irqchip, handlers: { 2: HANDLER } });
    m.expectOut(0x70);
    m.vcpu.nmi();
    m.expectOut(0x77, "the NMI");
  },
  { source: "api.rst, KVM_NMI" },
);

const nmi = asm32`
  cli
  out 0x70, al
1: hlt
  jmp 1b
  ${HANDLER_ORG}
  out 0x77, al
  iretd`;

it(
  "nmi-blocked-in-handler",
  "a second NMI waits until the first one's IRET",
  () => {
    using m = machine(nmiSlow, { prepare: irqchip, handlers: { 2: HANDLER } });
    m.expectOut(0x70);
    m.vcpu.nmi();
    m.expectOut(0x77, "the first NMI");
    m.vcpu.nmi();
    m.expectOut(0x78, "the rest of the first handler");
    m.expectOut(0x77, "the second NMI");
  },
  { source: "SDM, Handling Multiple NMIs" },
);

const nmiSlow = asm32`
  cli
  out 0x70, al
1: hlt
  jmp 1b
  ${HANDLER_ORG}
  out 0x77, al
  nop
  out 0x78, al
  iretd`;

it("nmi-by-msi", "an MSI with delivery mode NMI is an NMI, whatever its vector", () => {
  using m = machine(nmiEnabled, { prepare: irqchip, handlers: { 2: HANDLER } });
  m.expectOut(0x70);
  equal(m.vm.signalMsi({ address: 0xfee00000, data: 0x455 }), 1, "CPUs that took it");
  m.expectOut(0x77, "the NMI");
});

const nmiEnabled = asm32`
  cli
  ${APIC_ENABLE}
  out 0x70, al
1: hlt
  jmp 1b
  ${HANDLER_ORG}
  out 0x77, al
  iretd`;

it(
  "nmi-software-disabled",
  "an APIC that is disabled by its spurious vector register takes NMIs all the same",
  () => {
    using m = machine(nmi, { prepare: irqchip, handlers: { 2: HANDLER } });
    m.expectOut(0x70);
    equal(m.vm.signalMsi({ address: 0xfee00000, data: 0x400 }), 1, "CPUs that took it");
    m.expectOut(0x77, "the NMI");
  },
  {
    source: "SDM, Local APIC State After It Has Been Software Disabled",
    expectedFailure: "KVM delivers no MSI to an APIC that is software-disabled (seen on 6.1 and 6.18)",
  },
);

const x2apic = asm32`
  ${APIC_ENABLE}
  mov ecx, 0x1b
  rdmsr
  or eax, 0xc00
  wrmsr
  mov ecx, 0x802
  rdmsr
  out 0x10, eax
  mov ecx, 0x83f
  mov eax, 0x40
  xor edx, edx
  wrmsr
  ${WAIT}
  ${HANDLER_ORG}
  mov ecx, 0x80b
  xor eax, eax
  xor edx, edx
  wrmsr
  out 0x77, al
  ${BACK_TO_WAIT}`;

it(
  "x2apic",
  "in x2APIC mode the registers are MSRs: the whole id, a self-IPI register, the EOI",
  () => {
    using m = machine(x2apic, { prepare: bootCpu(7), handlers: { 64: HANDLER }, vcpuId: 7 });
    equal(m.expectOut(0x10), 7, "ID");
    m.expectOut(0x77, "the self-IPI");
    equal(m.vcpu.getSregs().apicBase & 0xc00n, 0xc00n, "EN and EXTD in IA32_APIC_BASE");
  },
  { source: "SDM, Extended XAPIC (x2APIC)" },
);

it(
  "x2apic-mode-order",
  "IA32_APIC_BASE with EXTD and without EN is refused",
  () => {
    using m = machine(registers, { prepare: irqchip });
    const sregs = m.vcpu.getSregs();
    sregs.apicBase = (sregs.apicBase & ~0xc00n) | 0x400n;
    refuses("EINVAL", () => m.vcpu.setSregs(sregs));
  },
  { source: "SDM, x2APIC States" },
);

/** What the second processor does: says its number and halts. Page 4, in real mode. */
const AP_CODE = [0xb0, 0x01, 0xe6, 0x99, 0xf4]; // mov al, 1; out 0x99, al; hlt

function withSecond(m: Machine): Vcpu {
  const second = m.vm.createVcpu(1);
  second.setCpuid2(m.kvm.getSupportedCpuid());
  second.setLapic(second.getLapic());
  m.memory.bytes.set(AP_CODE, 0x4000);
  return second;
}

/** Runs past INIT and SIPI. */
function startedExit(vcpu: Vcpu): string {
  let exit = nextExit(vcpu);
  for (let i = 0; i < 10 && exit === "-EAGAIN"; i++) exit = nextExit(vcpu);
  return exit;
}

const initSipi = asm32`
  ${APIC_ENABLE}
  mov dword ptr ds:[${reg(0x310)}], 0x01000000
  mov dword ptr ds:[${reg(0x300)}], 0x4500
  out 0x10, al
  mov dword ptr ds:[${reg(0x310)}], 0x01000000
  mov dword ptr ds:[${reg(0x300)}], 0x4604
  out 0x10, al
  hlt`;

it(
  "ap-waits",
  "a second processor waits for INIT: it is uninitialized and its state says so",
  () => {
    using m = apicMachine(initSipi);
    using second = withSecond(m);
    equal(second.getMpState(), b.KVM_MP_STATE_UNINITIALIZED, "MP state");
  },
  { source: "api.rst, KVM_GET_MP_STATE" },
);

it("init-sipi", "INIT and SIPI from the first processor start the second at the SIPI's page in real mode", () => {
  using m = apicMachine(initSipi);
  using second = withSecond(m);
  m.expectOut(0x10);
  m.expectOut(0x10);
  equal(startedExit(second), "out byte 0x99: 0x1", "the second processor's exit");
  const { cs } = second.getSregs();
  equal([cs.selector, cs.base], [0x400, 0x4000n], "CS");
});

it("sipi-needs-init", "a SIPI to a processor that runs is ignored", () => {
  using m = apicMachine(waiting);
  using second = withSecond(m);
  second.setMpState(b.KVM_MP_STATE_RUNNABLE);
  m.enter(waiting, second);
  m.vm.signalMsi({ address: 0xfee01000, data: 0x4604 });
  equal(nextExit(second), "out byte 0x70: 0x0", "it goes on where it was");
});

const broadcast = asm32`
  ${APIC_ENABLE}
  mov dword ptr ds:[${reg(0x300)}], 0xc4040
  out 0x10, al
  ${WAIT}
  ${REPORT}`;

it("ipi-all-but-self", "an IPI to all but itself is pending at the others and not at the sender", () => {
  using m = apicMachine(broadcast, 0x40);
  using second = withSecond(m);
  const lapic = second.getLapic();
  setRegister(lapic, 0xf0, 0x1ff);
  second.setLapic(lapic);
  second.setMpState(b.KVM_MP_STATE_RUNNABLE);
  m.expectOut(0x10);
  equal(
    [m.vcpu, second].map((vcpu) => register(vcpu.getLapic(), 0x220)),
    [0, 1],
    "IRR of vectors 0x40 to 0x5f",
  );
});

const switchedOff = asm32`
  mov ecx, 0x1b
  rdmsr
  and eax, 0xfffff7ff
  wrmsr
  mov eax, ds:[${reg(0x20)}]
  out 0x10, eax
  hlt`;

it(
  "disabled-reads-ones",
  "with the APIC switched off in IA32_APIC_BASE its page reads as ones, by the quirk LAPIC_MMIO_HOLE",
  () => {
    using m = machine(switchedOff, { prepare: irqchip });
    equal(m.next(), "out dword 0x10: 0xffffffff", "exit");
  },
  { source: "api.rst, KVM_CAP_DISABLE_QUIRKS2" },
);

it(
  "disabled-is-mmio",
  "without that quirk the page of an APIC that is switched off is MMIO",
  () => {
    using m = machine(switchedOff, {
      prepare: (vm) => {
        const quirks = needs("KVM_CAP_DISABLE_QUIRKS2", vm);
        if ((quirks & b.KVM_X86_QUIRK_LAPIC_MMIO_HOLE) === 0) skip("the quirk LAPIC_MMIO_HOLE cannot be switched off");
        vm.enableCap(b.KVM_CAP_DISABLE_QUIRKS2, b.KVM_X86_QUIRK_LAPIC_MMIO_HOLE);
        vm.createIrqchip();
      },
    });
    equal(m.next(), "read dword 0xfee00020", "exit");
  },
  { source: "api.rst, KVM_CAP_DISABLE_QUIRKS2" },
);

const spurious = asm16`hlt`;

it(
  "halted-wakes",
  "a vCPU that is set to HALTED is runnable again after an interrupt",
  () => {
    using m = apicMachine(waiting, 0x52);
    m.expectOut(0x70);
    m.vm.signalMsi({ address: 0xfee00000, data: 0x52 });
    m.vcpu.setRegs({ ...m.vcpu.getRegs().toObject(), rflags: 0x202 } as never);
    m.vcpu.setMpState(b.KVM_MP_STATE_HALTED);
    m.expectOut(0x77, "the MSI");
    equal(m.vcpu.getMpState(), b.KVM_MP_STATE_RUNNABLE, "MP state");
  },
  { source: "api.rst, KVM_SET_MP_STATE" },
);

it(
  "no-irqchip-exits",
  "without an in-kernel irqchip HLT is an exit",
  () => {
    using m = machine(spurious);
    equal(m.next(), "hlt", "exit");
  },
  { source: "api.rst, KVM_EXIT_HLT" },
);
