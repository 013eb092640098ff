/** Model-specific registers: the lists, what user space and the guest may do with them, filters, and exits. */

import type { Vm } from "@tools-kvm/kvm-binding";
import * as b from "@tools-kvm/kvm-binding";
import { check, equal, needs, refuses, takes } from "../expect.js";
import { asm32 } from "../guest/code.js";
import { machine } from "../guest/machine.js";
import { HANDLER, HANDLER_ORG } from "../guest/snippets.js";
import { themeOf } from "../registry.js";

const it = themeOf("msrs", "api.rst, KVM_GET_MSRS");

const IA32_TSC = 0x10;
const SYSENTER_CS = 0x174;
const SYSENTER_EIP = 0x176;
const MISC_ENABLE = 0x1a0;
const PAT = 0x277;
const EFER = 0xc0000080;
const STAR = 0xc0000081;
const LSTAR = 0xc0000082;
const FS_BASE = 0xc0000100;
const KERNEL_GS_BASE = 0xc0000102;
/** No processor has it. */
const NO_SUCH_MSR = 0x12345678;

const idle = asm32`hlt`;

/** Reads the MSR in ECX and reports it, or reports 0x99 when that faults. */
const rdmsr = asm32`
  rdmsr
  out 0x10, eax
  mov eax, edx
  out 0x11, eax
  hlt
  ${HANDLER_ORG}
  out 0x99, al
  hlt`;

const wrmsr = asm32`
  wrmsr
  out 0x10, al
  hlt
  ${HANDLER_ORG}
  out 0x99, al
  hlt`;

interface Access {
  readonly index: number;
  readonly value?: bigint;
  readonly prepare?: (vm: Vm) => void;
}

function access(code: typeof rdmsr, { index, value = 0n, prepare = () => {} }: Access) {
  const m = machine(code, { prepare, handlers: { 13: HANDLER } });
  const regs = m.vcpu.getRegs();
  regs.assign({ rcx: index, rax: value & 0xffffffffn, rdx: value >> 32n });
  m.vcpu.setRegs(regs);
  return m;
}

it(
  "index-list",
  "the list has the MSRs of every x86-64 guest, each of them once",
  () => {
    using kvm = b.Kvm.open();
    const list = [...kvm.getMsrIndexList()];
    equal(new Set(list).size, list.length, "different MSRs");
    equal(
      [IA32_TSC, SYSENTER_CS, SYSENTER_EIP, STAR, LSTAR, KERNEL_GS_BASE].filter((index) => !list.includes(index)),
      [],
      "missing",
    );
  },
  { source: "api.rst, KVM_GET_MSR_INDEX_LIST" },
);

it(
  "index-list-short",
  "with too little room the list is E2BIG, and the count that is needed comes back",
  () => {
    using kvm = b.Kvm.open();
    const room = new Uint32Array(2);
    room[0] = 1;
    refuses("E2BIG", () => kvm.ioctlBytes(b.KVM_GET_MSR_INDEX_LIST, new Uint8Array(room.buffer)));
    check(room[0]! > 1, `the count is ${room[0]}`);
  },
  { source: "api.rst, KVM_GET_MSR_INDEX_LIST" },
);

it(
  "all-listed-readable",
  "every MSR of the list can be read by KVM_GET_MSRS",
  () => {
    using m = machine(idle);
    const unreadable = [...m.kvm.getMsrIndexList()].filter((index) => !takes(() => m.vcpu.getMsrs([index])));
    equal(unreadable, [], "MSRs that cannot be read");
  },
  { source: "api.rst, KVM_GET_MSR_INDEX_LIST" },
);

it(
  "all-listed-restorable",
  "every MSR of the list takes back the value that was read from it",
  () => {
    using m = machine(idle, { prepare: (vm) => vm.createIrqchip() });
    const refused = [...m.kvm.getMsrIndexList()].filter(
      (index) => !takes(() => m.vcpu.setMsrs(m.vcpu.getMsrs([index]))),
    );
    equal(refused, [], "MSRs that refuse their own value");
  },
  { source: "api.rst, KVM_SET_MSRS" },
);

it(
  "feature-list",
  "every feature MSR of the list can be read on the system",
  () => {
    using kvm = b.Kvm.open();
    needs("KVM_CAP_GET_MSR_FEATURES", kvm);
    const unreadable = [...kvm.getMsrFeatureIndexList()].filter((index) => !takes(() => kvm.getMsrs([index])));
    equal(unreadable, [], "feature MSRs that cannot be read");
  },
  { source: "api.rst, KVM_GET_MSR_FEATURE_INDEX_LIST" },
);

it(
  "round-trip",
  "values written by KVM_SET_MSRS are read back by KVM_GET_MSRS",
  () => {
    using m = machine(idle);
    const entries = [
      { index: SYSENTER_CS, data: 0x10n },
      // AMD's has 32 bits (APM, SYSENTER and SYSEXIT MSRs).
      { index: SYSENTER_EIP, data: 0x81000000n },
      { index: STAR, data: 0x23001000000000n },
      { index: LSTAR, data: 0xffffffff82000000n },
      { index: KERNEL_GS_BASE, data: 0x7fff12345678n },
      { index: FS_BASE, data: 0x7000_0000_0000n },
      { index: PAT, data: 0x0007040600070406n },
    ];
    m.vcpu.setMsrs(entries);
    equal(m.vcpu.getMsrs(entries.map(({ index }) => index)), entries, "MSRs");
  },
  { source: "api.rst, KVM_SET_MSRS" },
);

it(
  "partial-set",
  "KVM_SET_MSRS stops at the first MSR it does not take, and says how many it took",
  () => {
    using m = machine(idle);
    const bytes = new Uint8Array(b.MsrsHead.sizeBytes + 3 * b.MsrRecord.sizeBytes);
    new b.MsrsHead(bytes).nmsrs = 3;
    const entry = (i: number) => new b.MsrRecord(bytes.subarray(b.MsrsHead.sizeBytes + i * b.MsrRecord.sizeBytes));
    entry(0).assign({ index: LSTAR, data: 0x1000 });
    entry(1).assign({ index: NO_SUCH_MSR, data: 1 });
    entry(2).assign({ index: KERNEL_GS_BASE, data: 0x2000 });
    equal(m.vcpu.ioctlBytes(b.KVM_SET_MSRS, bytes), 1, "MSRs taken");
    equal(
      m.vcpu.getMsrs([LSTAR, KERNEL_GS_BASE]).map(({ data }) => data),
      [0x1000n, 0n],
      "LSTAR and KERNEL_GS_BASE",
    );
  },
  { source: "api.rst, KVM_SET_MSRS" },
);

it(
  "noncanonical",
  "KVM_SET_MSRS refuses an address that is not canonical",
  () => {
    using m = machine(idle);
    for (const index of [LSTAR, KERNEL_GS_BASE])
      equal(
        takes(() => m.vcpu.setMsrs([{ index, data: 0x8000_0000_0000_0000n }])),
        false,
        `MSR 0x${index.toString(16)} took it`,
      );
  },
  { source: "SDM, WRMSR" },
);

it(
  "reserved-bits",
  "KVM_SET_MSRS refuses reserved bits of EFER",
  () => {
    using m = machine(idle);
    equal(
      takes(() => m.vcpu.setMsrs([{ index: EFER, data: 1n << 40n }])),
      false,
      "EFER took bit 40",
    );
  },
  { source: "SDM, WRMSR" },
);

it(
  "pat-types",
  "KVM_SET_MSRS refuses memory types of PAT that do not exist",
  () => {
    using m = machine(idle);
    for (const type of [2n, 3n, 8n])
      equal(
        takes(() => m.vcpu.setMsrs([{ index: PAT, data: type << 8n }])),
        false,
        `PAT took type ${type}`,
      );
  },
  { source: "SDM, IA32_PAT MSR" },
);

it("too-many", "more MSRs in one call than the kernel takes is E2BIG", () => {
  using m = machine(idle);
  refuses("E2BIG", () => m.vcpu.getMsrs(new Uint32Array(5000).fill(LSTAR)));
});

it(
  "guest-reads",
  "the guest's RDMSR sees what user space wrote",
  () => {
    using m = access(rdmsr, { index: SYSENTER_EIP });
    m.vcpu.setMsrs([{ index: SYSENTER_EIP, data: 0x11223344n }]);
    equal([m.expectOut(0x10), m.expectOut(0x11)], [0x11223344, 0], "EAX and EDX");
  },
  { source: "api.rst, KVM_SET_MSRS" },
);

it("guest-writes", "user space reads what the guest's WRMSR wrote", () => {
  using m = access(wrmsr, { index: SYSENTER_CS, value: 0x18n });
  m.expectOut(0x10);
  equal(m.vcpu.getMsrs([SYSENTER_CS])[0]!.data, 0x18n, "SYSENTER_CS");
});

it(
  "guest-unknown-read",
  "a guest's RDMSR of an MSR that does not exist is #GP",
  () => {
    using m = access(rdmsr, { index: NO_SUCH_MSR });
    m.expectOut(0x99, "#GP");
  },
  { source: "SDM, RDMSR" },
);

it(
  "guest-unknown-write",
  "a guest's WRMSR of an MSR that does not exist is #GP",
  () => {
    using m = access(wrmsr, { index: NO_SUCH_MSR, value: 1n });
    m.expectOut(0x99, "#GP");
  },
  { source: "SDM, WRMSR" },
);

it(
  "guest-bad-value",
  "a guest's WRMSR of a reserved bit of EFER is #GP",
  () => {
    using m = access(wrmsr, { index: EFER, value: 1n << 40n });
    m.expectOut(0x99, "#GP");
  },
  { source: "SDM, WRMSR" },
);

const userSpace = (reasons: number) => (vm: Vm) => {
  needs("KVM_CAP_X86_USER_SPACE_MSR", vm);
  vm.enableCap(b.KVM_CAP_X86_USER_SPACE_MSR, reasons);
};
const exitSource = { source: "api.rst, KVM_EXIT_X86_RDMSR" };

it(
  "exit-unknown-read",
  "with user-space MSRs, a read of an unknown MSR is an exit, and its answer is what the guest reads",
  () => {
    using m = access(rdmsr, {
      index: NO_SUCH_MSR,
      prepare: userSpace(b.KVM_MSR_EXIT_REASON_UNKNOWN | b.KVM_MSR_EXIT_REASON_INVAL),
    });
    const run = m.expectExit(b.KVM_EXIT_X86_RDMSR);
    equal(run.msrIndex, NO_SUCH_MSR, "index");
    check(
      (run.msrReason & (b.KVM_MSR_EXIT_REASON_UNKNOWN | b.KVM_MSR_EXIT_REASON_INVAL)) !== 0,
      `reason ${run.msrReason}`,
    );
    run.msrData = 0x5566778811223344n;
    run.msrError = 0;
    equal([m.expectOut(0x10), m.expectOut(0x11)], [0x11223344, 0x55667788], "EAX and EDX");
  },
  exitSource,
);

it(
  "exit-unknown-write",
  "with user-space MSRs, a write of an unknown MSR is an exit with its value, and goes on behind it",
  () => {
    using m = access(wrmsr, {
      index: NO_SUCH_MSR,
      value: 0x1122334455667788n,
      prepare: userSpace(b.KVM_MSR_EXIT_REASON_UNKNOWN | b.KVM_MSR_EXIT_REASON_INVAL),
    });
    const run = m.expectExit(b.KVM_EXIT_X86_WRMSR);
    equal([run.msrIndex, run.msrData], [NO_SUCH_MSR, 0x1122334455667788n], "index and data");
    run.msrError = 0;
    m.expectOut(0x10, "the next instruction");
  },
  exitSource,
);

it(
  "exit-error",
  "an error that user space answers is #GP for the guest",
  () => {
    using m = access(rdmsr, {
      index: NO_SUCH_MSR,
      prepare: userSpace(b.KVM_MSR_EXIT_REASON_UNKNOWN | b.KVM_MSR_EXIT_REASON_INVAL),
    });
    m.expectExit(b.KVM_EXIT_X86_RDMSR).msrError = 1;
    m.expectOut(0x99, "#GP");
  },
  exitSource,
);

it(
  "exit-reasons-checked",
  "an exit reason that does not exist is EINVAL",
  () => {
    using kvm = b.Kvm.open();
    using vm = kvm.createVm();
    needs("KVM_CAP_X86_USER_SPACE_MSR", vm);
    refuses("EINVAL", () => vm.enableCap(b.KVM_CAP_X86_USER_SPACE_MSR, 0x80));
  },
  { source: "api.rst, KVM_CAP_X86_USER_SPACE_MSR" },
);

const filterSource = { source: "api.rst, KVM_X86_SET_MSR_FILTER" };
const denySysenter =
  (o: { read?: boolean; write?: boolean } = {}) =>
  (vm: Vm) => {
    needs("KVM_CAP_X86_MSR_FILTER", vm);
    vm.setMsrFilter({ ranges: [{ base: SYSENTER_CS, count: 3, bitmap: Uint8Array.of(0b011), ...o }] });
  };

it(
  "filter-denies",
  "an access that a filter's bit denies is #GP for the guest",
  () => {
    using m = access(rdmsr, { index: SYSENTER_EIP, prepare: denySysenter() });
    m.expectOut(0x99, "#GP");
  },
  filterSource,
);

it(
  "filter-allows",
  "a set bit of the same range allows",
  () => {
    using m = access(rdmsr, { index: SYSENTER_CS, prepare: denySysenter() });
    m.expectOut(0x10);
  },
  filterSource,
);

it(
  "filter-direction",
  "a range for writes leaves reads alone",
  () => {
    using read = access(rdmsr, { index: SYSENTER_EIP, prepare: denySysenter({ read: false, write: true }) });
    read.expectOut(0x10, "the value read");
    using write = access(wrmsr, { index: SYSENTER_EIP, prepare: denySysenter({ read: false, write: true }) });
    write.expectOut(0x99, "#GP");
  },
  filterSource,
);

it(
  "filter-default-deny",
  "with default deny what no range names is #GP, and what one allows works",
  () => {
    const prepare = (vm: Vm) => {
      needs("KVM_CAP_X86_MSR_FILTER", vm);
      vm.setMsrFilter({ defaultDeny: true, ranges: [{ base: SYSENTER_CS, count: 1, bitmap: Uint8Array.of(1) }] });
    };
    using denied = access(rdmsr, { index: SYSENTER_EIP, prepare });
    denied.expectOut(0x99, "#GP");
    using allowed = access(rdmsr, { index: SYSENTER_CS, prepare });
    allowed.expectOut(0x10, "the value");
  },
  filterSource,
);

it(
  "filter-user-space",
  "a filter does not bind user space",
  () => {
    using m = access(rdmsr, { index: SYSENTER_EIP, prepare: denySysenter() });
    m.vcpu.setMsrs([{ index: SYSENTER_EIP, data: 5n }]);
    equal(m.vcpu.getMsrs([SYSENTER_EIP])[0]!.data, 5n, "SYSENTER_EIP");
  },
  filterSource,
);

it(
  "filter-exit",
  "with user-space MSRs for filtered ones, a denied access is an exit with that reason",
  () => {
    using m = access(rdmsr, {
      index: SYSENTER_EIP,
      prepare: (vm) => {
        userSpace(b.KVM_MSR_EXIT_REASON_FILTER)(vm);
        denySysenter()(vm);
      },
    });
    const run = m.expectExit(b.KVM_EXIT_X86_RDMSR);
    equal([run.msrIndex, run.msrReason], [SYSENTER_EIP, b.KVM_MSR_EXIT_REASON_FILTER], "index and reason");
  },
  filterSource,
);

it(
  "filter-removed",
  "an empty filter allows everything again",
  () => {
    using m = access(rdmsr, { index: SYSENTER_EIP, prepare: denySysenter() });
    m.vm.setMsrFilter({});
    m.expectOut(0x10, "the value");
  },
  filterSource,
);

it("misc-enable-kept", "IA32_MISC_ENABLE is readable, and keeps its fast-strings bit", () => {
  using m = machine(idle);
  const [{ data }] = m.vcpu.getMsrs([MISC_ENABLE]) as [b.MsrEntry];
  m.vcpu.setMsrs([{ index: MISC_ENABLE, data: data | 1n }]);
  equal(m.vcpu.getMsrs([MISC_ENABLE])[0]!.data & 1n, 1n, "bit 0");
});
