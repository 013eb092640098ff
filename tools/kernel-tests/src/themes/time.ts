/** The TSC and kvmclock. */
import * as b from "@tools-kvm/kvm-binding";
import { between, check, equal, needs, refuses, skip, takes } from "../expect.js";
import { asm32 } from "../guest/code.js";
import { type Machine, machine } from "../guest/machine.js";
import { themeOf } from "../registry.js";

const it = themeOf("time", "api.rst, KVM_GET_CLOCK");
const SECOND_NS = 1_000_000_000n;
const PATIENCE_NS = 60n * SECOND_NS;

const rdtsc = asm32`
1: rdtsc
  out 0x10, eax
  mov eax, edx
  out 0x11, eax
  jmp 1b`;

function guestTsc(m: Machine): bigint {
  const low = BigInt(m.expectOut(0x10) >>> 0);
  return low | (BigInt(m.expectOut(0x11) >>> 0) << 32n);
}

it("clock-runs", "the VM's clock goes on, and never back", () => {
  using m = machine(rdtsc);
  const first = m.vm.getClock().clock;
  let last = first;
  for (let i = 0; i < 100; i++) {
    const { clock } = m.vm.getClock();
    check(clock >= last, `the clock went back by ${last - clock} ns`);
    last = clock;
  }
  check(last > first, "the clock stands still");
});

it("clock-begins-at-zero", "a new VM's clock begins near 0", () => {
  using m = machine(rdtsc);
  between(m.vm.getClock().clock, 0n, PATIENCE_NS, "the clock in ns");
});

it(
  "clock-set",
  "a clock that is set goes on from there",
  () => {
    using m = machine(rdtsc);
    const start = 5_000_000n * SECOND_NS;
    m.vm.setClock(b.ClockData.from({ clock: start }));
    between(m.vm.getClock().clock, start, start + PATIENCE_NS, "the clock in ns");
  },
  { source: "api.rst, KVM_SET_CLOCK" },
);

it(
  "clock-flags",
  "KVM_GET_CLOCK gives only flags that KVM_CAP_ADJUST_CLOCK lists, and the host's clocks with them",
  () => {
    using m = machine(rdtsc);
    const listed = needs("KVM_CAP_ADJUST_CLOCK", m.vm);
    const { flags, realtime, hostTsc } = m.vm.getClock();
    equal(flags & ~listed, 0, "flags that are not listed");
    if (flags & b.KVM_CLOCK_REALTIME) check(realtime > 1_600_000_000n * SECOND_NS, `realtime ${realtime}`);
    if (flags & b.KVM_CLOCK_HOST_TSC) check(hostTsc > 0n, "host TSC 0");
  },
);

it(
  "clock-flags-checked",
  "KVM_SET_CLOCK with unknown flags is EINVAL",
  () => {
    using m = machine(rdtsc);
    refuses("EINVAL", () => m.vm.setClock(b.ClockData.from({ clock: 1, flags: 0x4000 })));
  },
  { source: "api.rst, KVM_SET_CLOCK" },
);

it(
  "tsc-runs",
  "the guest's TSC goes up with every reading",
  () => {
    using m = machine(rdtsc);
    const readings = Array.from({ length: 20 }, () => guestTsc(m));
    check(
      readings.every((tsc, i) => i === 0 || tsc > readings[i - 1]!),
      `readings ${readings.join(", ")}`,
    );
  },
  { source: "SDM, Time-Stamp Counter" },
);

it(
  "tsc-msr-agrees",
  "KVM_GET_MSRS of IA32_TSC lies between two readings of the guest",
  () => {
    using m = machine(rdtsc);
    const before = guestTsc(m);
    const [{ data }] = m.vcpu.getMsrs([0x10]) as [b.MsrEntry];
    between(data, before, guestTsc(m), "IA32_TSC");
  },
  { source: "api.rst, KVM_GET_MSRS" },
);

it(
  "tsc-set",
  "the guest's TSC goes on from a value that user space writes to IA32_TSC",
  () => {
    using m = machine(rdtsc);
    const start = 1n << 50n;
    m.vcpu.setMsrs([{ index: 0x10, data: start }]);
    between(guestTsc(m), start, start + (1n << 42n), "TSC");
  },
  { source: "api.rst, KVM_SET_MSRS" },
);

it(
  "tsc-khz",
  "the TSC's frequency is what a processor may have, and one vCPU's is the VM's",
  () => {
    using m = machine(rdtsc);
    needs("KVM_CAP_GET_TSC_KHZ", m.vm);
    between(m.vcpu.getTscKhz(), 100_000, 20_000_000, "kHz");
  },
  { source: "api.rst, KVM_GET_TSC_KHZ" },
);

it(
  "tsc-khz-scaled",
  "with TSC scaling a frequency that is set is read back",
  () => {
    using m = machine(rdtsc);
    needs("KVM_CAP_TSC_CONTROL", m.vm);
    const khz = Math.round(m.vcpu.getTscKhz() / 2);
    m.vcpu.setTscKhz(khz);
    equal(m.vcpu.getTscKhz(), khz, "kHz");
  },
  { source: "api.rst, KVM_SET_TSC_KHZ" },
);

it(
  "tsc-offset",
  "an offset that is set is read back, and moves the guest's TSC",
  () => {
    using m = machine(rdtsc);
    if (!takes(() => m.vcpu.getTscOffset())) skip("no KVM_VCPU_TSC_OFFSET");
    const before = guestTsc(m);
    const offset = m.vcpu.getTscOffset();
    m.vcpu.setTscOffset(offset + (1n << 52n));
    equal(m.vcpu.getTscOffset(), BigInt.asUintN(64, offset + (1n << 52n)), "offset");
    check(guestTsc(m) - before >= 1n << 52n, "the guest's TSC did not move");
  },
  { source: "devices/vcpu.rst, KVM_VCPU_TSC_OFFSET" },
);

it(
  "kvmclock-ctrl",
  "KVM_KVMCLOCK_CTRL without a kvmclock in the guest is EINVAL",
  () => {
    using m = machine(rdtsc);
    needs("KVM_CAP_KVMCLOCK_CTRL", m.vm);
    refuses("EINVAL", () => m.vcpu.kvmclockCtrl());
  },
  { source: "api.rst, KVM_KVMCLOCK_CTRL" },
);

const SYSTEM_TIME_NEW = 0x4b564d01;
const kvmclock = asm32`
  mov ecx, ${SYSTEM_TIME_NEW}
  mov eax, 0x5001
  xor edx, edx
  wrmsr
1: out 0x10, al
  jmp 1b`;

it(
  "kvmclock-page",
  "a guest that registers a kvmclock page finds an even version, a system time and a multiplier in it",
  () => {
    using m = machine(kvmclock);
    m.expectOut(0x10);
    m.expectOut(0x10);
    const version = m.view.getUint32(0x5000, true);
    check(version > 0 && version % 2 === 0, `version ${version}`);
    check(m.view.getUint32(0x5018, true) > 0, "multiplier 0");
    between(m.view.getBigUint64(0x5010, true), 0n, PATIENCE_NS, "system time in ns");
  },
  { source: "msr.rst, MSR_KVM_SYSTEM_TIME_NEW" },
);

it(
  "kvmclock-follows-set",
  "after KVM_SET_CLOCK the page has the new time, and KVM_KVMCLOCK_CTRL marks it",
  () => {
    using m = machine(kvmclock);
    m.expectOut(0x10);
    m.expectOut(0x10);
    const start = 1_000_000n * SECOND_NS;
    m.vm.setClock(b.ClockData.from({ clock: start }));
    m.expectOut(0x10);
    m.expectOut(0x10);
    between(m.view.getBigUint64(0x5010, true), start, start + PATIENCE_NS, "system time in ns");
    m.vcpu.kvmclockCtrl();
    m.expectOut(0x10);
    m.expectOut(0x10);
    equal(m.view.getUint8(0x501d) & 2, 2, "the flag that the guest was paused");
  },
  { source: "api.rst, KVM_KVMCLOCK_CTRL" },
);
