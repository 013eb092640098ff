/** The rate of the TSC, by which guests without a clock of their own say how long something took. */
import { Kvm } from "@tools-kvm/kvm-binding";

/** Thousands of cycles a second, as KVM has it for a guest: cycles a millisecond. */
export function tscKhz(): number {
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  using vcpu = vm.createVcpu(0);
  return vcpu.getTscKhz();
}
