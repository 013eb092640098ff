/** How a vCPU is taken out of KVM_RUN, and the states it can be in. */
import * as b from "@tools-kvm/kvm-binding";
import { check, equal, needs, refuses } from "../expect.js";
import { asm16, asm32 } from "../guest/code.js";
import { machine } from "../guest/machine.js";
import { kicker } from "../kicker.js";
import { themeOf } from "../registry.js";

const it = themeOf("run-control", "api.rst, KVM_RUN");

const endless = asm16`
1: jmp 1b`;

const out = asm16`
  mov al, 1
  out 0x10, al
  mov al, 2
  out 0x10, al
  hlt`;

it(
  "immediate-exit",
  "with immediate_exit set KVM_RUN is EINTR before the guest has run an instruction",
  () => {
    using m = machine(out);
    m.run.immediateExit = 1;
    equal(m.next(), "-EINTR", "run");
    equal(m.vcpu.getRegs().rip, 0x1000n, "RIP");
    m.run.immediateExit = 0;
    m.expectOut(0x10);
  },
  { source: "api.rst, KVM_CAP_IMMEDIATE_EXIT" },
);

it(
  "immediate-exit-stays",
  "the kernel does not clear immediate_exit: every KVM_RUN is EINTR until user space does",
  () => {
    using m = machine(out);
    for (let i = 0; i < 3; i++) {
      m.run.immediateExit = 1;
      equal(m.next(), "-EINTR", "run");
    }
  },
  { source: "api.rst, KVM_CAP_IMMEDIATE_EXIT" },
);

it("signal", "a signal takes a guest that makes no exits out of KVM_RUN with EINTR", async () => {
  using m = machine(endless);
  using _kicks = await kicker(m.vcpu);
  equal(m.next(), "-EINTR", "run");
  equal(m.vcpu.getRegs().rip, 0x1000n, "RIP");
});

it("signal-halted", "a signal takes a halted vCPU with an in-kernel APIC out of KVM_RUN", async () => {
  using m = machine(halted, { prepare: (vm) => vm.createIrqchip() });
  using _kicks = await kicker(m.vcpu);
  equal(m.next(), "-EINTR", "run");
  equal(m.vcpu.getMpState(), b.KVM_MP_STATE_HALTED, "MP state");
});

const halted = asm16`
  sti
1: hlt
  jmp 1b`;

it("signal-waiting", "a signal takes a vCPU that waits for INIT out of KVM_RUN", async () => {
  using m = machine(halted, { prepare: (vm) => vm.createIrqchip() });
  using second = m.vm.createVcpu(1);
  using _kicks = await kicker(second);
  equal(second.run(), -b.EINTR, "run");
  equal(second.getMpState(), b.KVM_MP_STATE_UNINITIALIZED, "MP state");
});

it("goes-on", "after EINTR the guest goes on where it was, and loses nothing", async () => {
  using m = machine(counting);
  using _kicks = await kicker(m.vcpu);
  let interrupted = 0;
  let last = 0;
  while (interrupted < 3) {
    const exit = m.next();
    if (exit === "-EINTR") interrupted++;
    else {
      const value = Number(exit.split(": ")[1]);
      equal(value, last + 1, "the next number");
      last = value;
    }
  }
});

const counting = asm32`
  xor eax, eax
1: mov ecx, 2000
2: loop 2b
  inc eax
  out 0x10, eax
  jmp 1b`;

it(
  "exit-reason",
  "the exit reason is in the run page when KVM_RUN returns 0, and says interrupted with EINTR",
  async () => {
    using m = machine(endless);
    using _kicks = await kicker(m.vcpu);
    m.next();
    equal(m.run.exitReason, b.KVM_EXIT_INTR, "exit reason");
  },
);

it(
  "mp-state-checked",
  "an MP state that does not exist is EINVAL",
  () => {
    using m = machine(out, { prepare: (vm) => vm.createIrqchip() });
    refuses("EINVAL", () => m.vcpu.setMpState(77));
  },
  { source: "api.rst, KVM_SET_MP_STATE" },
);

it(
  "mp-state-without-irqchip",
  "without an in-kernel irqchip the only state to set is runnable",
  () => {
    using m = machine(out);
    refuses("EINVAL", () => m.vcpu.setMpState(b.KVM_MP_STATE_SIPI_RECEIVED));
    m.vcpu.setMpState(b.KVM_MP_STATE_RUNNABLE);
    m.expectOut(0x10);
  },
  { source: "api.rst, KVM_SET_MP_STATE" },
);

it(
  "mp-state-round-trip",
  "with an in-kernel irqchip each state that is set is read back",
  () => {
    using m = machine(out, { prepare: (vm) => vm.createIrqchip() });
    for (const state of [
      b.KVM_MP_STATE_HALTED,
      b.KVM_MP_STATE_INIT_RECEIVED,
      b.KVM_MP_STATE_UNINITIALIZED,
      b.KVM_MP_STATE_RUNNABLE,
    ]) {
      m.vcpu.setMpState(state);
      equal(m.vcpu.getMpState(), state, "MP state");
    }
  },
  { source: "api.rst, KVM_SET_MP_STATE" },
);

it(
  "shutdown",
  "a triple fault is the shutdown exit",
  () => {
    using m = machine(tripleFault);
    equal(m.next(), "shutdown", "exit");
  },
  { source: "api.rst, KVM_EXIT_SHUTDOWN" },
);

const tripleFault = asm32`
  lidt ds:[0x5000]
  ud2`;

it(
  "shutdown-is-not-the-end",
  "after a triple fault user space can give the vCPU new registers and run it again",
  () => {
    using m = machine(tripleFault);
    equal(m.next(), "shutdown", "exit");
    m.memory.bytes.set([0xe6, 0x10, 0xf4], 0x3000); // out 0x10, al; hlt
    m.enter(tripleFault, m.vcpu);
    m.vcpu.setRegs({ rip: 0x3000, rsp: 0x4000, rflags: 2 });
    m.expectOut(0x10, "code after the shutdown");
  },
  { source: "api.rst, KVM_EXIT_SHUTDOWN" },
);

it(
  "interrupt-window",
  "asked for, a window for interrupts is an exit as soon as the guest has switched them on",
  () => {
    using m = machine(window);
    m.expectOut(0x10);
    equal(m.run.readyForInterruptInjection, 0, "ready with interrupts off");
    m.run.requestInterruptWindow = 1;
    equal(m.next(), "irq window open", "exit");
    equal(m.run.readyForInterruptInjection, 1, "ready in the window");
  },
  { source: "api.rst, KVM_EXIT_IRQ_WINDOW_OPEN" },
);

const window = asm16`
  cli
  out 0x10, al
  sti
1: nop
  jmp 1b`;

it(
  "interrupt-injected",
  "KVM_INTERRUPT in the window is the guest's next event",
  () => {
    using m = machine(injected, { handlers: { 64: 0x1800 } });
    m.vcpu.setRegs({ rip: 0x1000, rsp: 0x4000, rflags: 0x202 });
    m.vcpu.interrupt(0x40);
    m.expectOut(0x77, "the interrupt");
  },
  { source: "api.rst, KVM_INTERRUPT" },
);

const injected = asm16`
1: nop
  jmp 1b
  .org 0x800
  out 0x77, al
  iret`;

it(
  "interrupt-checked",
  "a vector above 255 is EINVAL; with a split irqchip a second interrupt before the first is delivered is EEXIST",
  () => {
    using m = machine(injected, {
      prepare: (vm) => {
        needs("KVM_CAP_SPLIT_IRQCHIP", vm);
        vm.enableCap(b.KVM_CAP_SPLIT_IRQCHIP, 24);
      },
    });
    refuses("EINVAL", () => m.vcpu.interrupt(256));
    m.vcpu.interrupt(0x40);
    refuses("EEXIST", () => m.vcpu.interrupt(0x41));
  },
  { source: "api.rst, KVM_INTERRUPT" },
);

it(
  "interrupt-with-irqchip",
  "with an in-kernel irqchip KVM_INTERRUPT is ENXIO",
  () => {
    using m = machine(injected, { prepare: (vm) => vm.createIrqchip() });
    refuses("ENXIO", () => m.vcpu.interrupt(0x40));
  },
  { source: "api.rst, KVM_INTERRUPT" },
);

it(
  "disable-hlt-exits",
  "with HLT exits disabled a halted guest without interrupts stays in KVM_RUN until it is kicked",
  async () => {
    using m = machine(endlessHalt, {
      prepare: (vm) => {
        check((vm.checkExtension(b.KVM_CAP_X86_DISABLE_EXITS) & ~0xf) === 0, "unknown exits can be disabled");
        vm.createIrqchip();
        if ((vm.checkExtension(b.KVM_CAP_X86_DISABLE_EXITS) & b.KVM_X86_DISABLE_EXITS_HLT) !== 0)
          vm.enableCap(b.KVM_CAP_X86_DISABLE_EXITS, b.KVM_X86_DISABLE_EXITS_HLT);
      },
    });
    using _kicks = await kicker(m.vcpu);
    equal(m.next(), "-EINTR", "run");
  },
  { source: "api.rst, KVM_CAP_X86_DISABLE_EXITS" },
);

const endlessHalt = asm16`
  cli
1: hlt
  jmp 1b`;
