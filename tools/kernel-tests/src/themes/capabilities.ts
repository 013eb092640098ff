/** What KVM says that it can do. */

import * as b from "@tools-kvm/kvm-binding";
import { Kvm } from "@tools-kvm/kvm-binding";
import { between, check, constant, equal } from "../expect.js";
import { themeOf } from "../registry.js";

const it = themeOf("capabilities", "api.rst, KVM_CHECK_EXTENSION");

function withKvm<T>(body: (kvm: Kvm) => T): T {
  using kvm = Kvm.open();
  return body(kvm);
}

const onSystem = (cap: number): number => withKvm((kvm) => kvm.checkExtension(cap));

it(
  "api-version",
  "the API version is 12, on every kernel",
  () => withKvm((kvm) => equal(kvm.getApiVersion(), 12, "KVM_GET_API_VERSION")),
  { source: "api.rst, KVM_GET_API_VERSION" },
);

it("unknown", "a capability that does not exist is answered with 0 and no error", () => {
  for (const cap of [0x7fff, 0x7fffffff, 0xffffffff]) equal(onSystem(cap), 0, `capability ${cap}`);
});

it(
  "required",
  "what a user space of today needs is there: user memory, its deletion, joined regions, the irqchip, MP states",
  () => {
    const required = [
      "KVM_CAP_USER_MEMORY",
      "KVM_CAP_DESTROY_MEMORY_REGION_WORKS",
      "KVM_CAP_JOIN_MEMORY_REGIONS_WORKS",
      "KVM_CAP_IRQCHIP",
      "KVM_CAP_HLT",
      "KVM_CAP_MP_STATE",
      "KVM_CAP_EXT_CPUID",
      "KVM_CAP_SET_TSS_ADDR",
      "KVM_CAP_IRQFD",
      "KVM_CAP_IOEVENTFD",
      "KVM_CAP_IMMEDIATE_EXIT",
    ] as const;
    equal(
      required.filter((name) => onSystem(constant(name)) === 0),
      [],
      "missing",
    );
  },
);

it("vm-answers-too", "KVM_CHECK_EXTENSION works on a VM, and agrees with the system for what is not the VM's", () =>
  withKvm((kvm) => {
    using vm = kvm.createVm();
    equal(kvm.checkExtension(b.KVM_CAP_CHECK_EXTENSION_VM), 1, "KVM_CAP_CHECK_EXTENSION_VM");
    for (const cap of [b.KVM_CAP_USER_MEMORY, b.KVM_CAP_NR_MEMSLOTS, b.KVM_CAP_IRQFD, b.KVM_CAP_XSAVE])
      equal(vm.checkExtension(cap), kvm.checkExtension(cap), `capability ${cap}`);
  }),
);

it("vcpu-limits", "the recommended number of vCPUs is at most the maximum, and ids reach at least as far", () => {
  const max = onSystem(b.KVM_CAP_MAX_VCPUS);
  between(onSystem(b.KVM_CAP_NR_VCPUS), 1, max, "KVM_CAP_NR_VCPUS");
  check(onSystem(b.KVM_CAP_MAX_VCPU_ID) >= max, "KVM_CAP_MAX_VCPU_ID is below KVM_CAP_MAX_VCPUS");
});

it("memory-slots", "there are at least 32 memory slots, what a PC with some devices needs", () =>
  between(onSystem(b.KVM_CAP_NR_MEMSLOTS), 32, 2 ** 31, "KVM_CAP_NR_MEMSLOTS"),
);

it(
  "mmap-size",
  "the run page's mapping is whole pages, and has room for the PIO page and the coalesced ring",
  () =>
    withKvm((kvm) => {
      const bytes = kvm.getVcpuMmapSize();
      equal(bytes % 4096, 0, "bytes beyond whole pages");
      check(bytes >= 3 * 4096, `only ${bytes} bytes`);
      equal(kvm.checkExtension(b.KVM_CAP_COALESCED_MMIO), 2, "KVM_CAP_COALESCED_MMIO, the ring's page");
    }),
  { source: "api.rst, KVM_GET_VCPU_MMAP_SIZE" },
);

it("xsave2-size", "KVM_CAP_XSAVE2 on a VM says how many bytes the XSAVE state has: 4096 at least", () =>
  withKvm((kvm) => {
    using vm = kvm.createVm();
    if (kvm.checkExtension(b.KVM_CAP_XSAVE2) > 0) check(vm.checkExtension(b.KVM_CAP_XSAVE2) >= 4096, "less than 4096");
  }),
);

it("stable", "the answers of one VM are the same whenever they are asked for", () =>
  withKvm((kvm) => {
    using vm = kvm.createVm();
    const ask = () => Array.from({ length: 256 }, (_, cap) => vm.checkExtension(cap));
    equal(ask(), ask(), "capabilities 0 to 255");
  }),
);
