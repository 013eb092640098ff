/** The in-kernel 8254. */
import type { Vm } from "@tools-kvm/kvm-binding";
import * as b from "@tools-kvm/kvm-binding";
import { between, check, equal, refuses } from "../expect.js";
import { asm16 } from "../guest/code.js";
import { machine } from "../guest/machine.js";
import { HANDLER, HANDLER_ORG, PIC_INIT, WAIT } from "../guest/snippets.js";
import { themeOf } from "../registry.js";

const it = themeOf("pit", "api.rst, KVM_CREATE_PIT2");
const withPit = (vm: Vm) => {
  vm.createIrqchip();
  vm.createPit2({ speakerDummy: true });
};

it("once", "a second PIT is EEXIST", () => {
  using kvm = b.Kvm.open();
  using vm = kvm.createVm();
  withPit(vm);
  refuses("EEXIST", () => vm.createPit2());
});

it(
  "state",
  "the PIT's channels that were read and are written back read the same",
  () => {
    using kvm = b.Kvm.open();
    using vm = kvm.createVm();
    withPit(vm);
    const state = vm.getPit2();
    state.channels[2]!.assign({ count: 0x1234, mode: 3, rwMode: 3, gate: 1 });
    state.flags = b.KVM_PIT_FLAGS_HPET_LEGACY;
    vm.setPit2(state);
    const { channels, flags } = vm.getPit2();
    const { count, mode, rwMode, gate } = channels[2]!;
    equal([count, mode, rwMode, gate, flags & 1], [0x1234, 3, 3, 1, 1], "channel 2 and flags");
  },
  { source: "api.rst, KVM_SET_PIT2" },
);

/** Channel 0 in rate mode, 1193 ticks: a thousand interrupts a second. */
const ticking = asm16`
  ${PIC_INIT}
  mov al, 0x34
  out 0x43, al
  mov al, ${1193 & 0xff}
  out 0x40, al
  mov al, ${1193 >> 8}
  out 0x40, al
  ${WAIT}
  ${HANDLER_ORG}
  mov al, 0x20
  out 0x20, al
  out 0x77, al
  iret`;

it(
  "ticks",
  "channel 0 in rate mode interrupts again and again on IRQ 0",
  () => {
    using m = machine(ticking, { prepare: withPit, handlers: { 32: HANDLER } });
    for (let i = 0; i < 5; i++) m.expectOut(0x77, `tick ${i}`);
  },
  { source: "82C54 datasheet, mode 2" },
);

it(
  "guest-writes-seen",
  "what the guest programmed is in KVM_GET_PIT2",
  () => {
    using m = machine(ticking, { prepare: withPit, handlers: { 32: HANDLER } });
    m.expectOut(0x77, "a tick");
    const { count, mode } = m.vm.getPit2().channels[0]!;
    equal([count, mode], [1193, 2], "count and mode of channel 0");
  },
  { source: "api.rst, KVM_GET_PIT2" },
);

const latched = asm16`
  mov al, 0x34
  out 0x43, al
  mov al, 0xff
  out 0x40, al
  out 0x40, al
1: mov al, 0
  out 0x43, al
  in al, 0x40
  mov bl, al
  in al, 0x40
  mov bh, al
  mov ax, bx
  out 0x10, ax
  jmp 1b`;

it(
  "counts-down",
  "a latched count goes down, and around",
  () => {
    using m = machine(latched, { prepare: withPit });
    const counts = Array.from({ length: 50 }, () => m.expectOut(0x10));
    check(new Set(counts).size > 1, `the count stands still at ${counts[0]}`);
    const ups = counts.filter((count, i) => i > 0 && count > counts[i - 1]!).length;
    between(ups, 0, 25, "readings above the one before");
  },
  { source: "82C54 datasheet, counter latch" },
);

const speaker = asm16`
  mov al, 3
  out 0x61, al
  in al, 0x61
  and al, 3
  out 0x10, al
  hlt`;

it("speaker", "port 0x61 is answered in the kernel with KVM_PIT_SPEAKER_DUMMY, and keeps gate and data bits", () => {
  using m = machine(speaker, { prepare: withPit });
  equal(m.expectOut(0x10), 3, "bits 0 and 1");
});

it(
  "reinject-control",
  "reinjection can be switched off and on with a PIT, and is ENXIO without",
  () => {
    using kvm = b.Kvm.open();
    using vm = kvm.createVm();
    refuses("ENXIO", () => vm.reinjectControl(true));
    withPit(vm);
    vm.reinjectControl(false);
    vm.reinjectControl(true);
  },
  { source: "api.rst, KVM_REINJECT_CONTROL" },
);
