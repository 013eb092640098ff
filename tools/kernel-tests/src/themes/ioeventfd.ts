/** ioeventfd: a guest's write that signals an eventfd and is done. */

import * as b from "@tools-kvm/kvm-binding";
import { EventFd, type Vm } from "@tools-kvm/kvm-binding";
import { equal, needs, refuses } from "../expect.js";
import { asm16, asm32, asm64 } from "../guest/code.js";
import { MMIO, machine } from "../guest/machine.js";
import { themeOf } from "../registry.js";

const it = themeOf("ioeventfd", "api.rst, KVM_IOEVENTFD");

const ports = asm16`
  mov eax, 0x44332211
  mov dx, 0x50
  out dx, al
  out dx, ax
  out dx, eax
  hlt`;

const memory = asm32`
  mov eax, 0x44332211
  mov ebx, ${MMIO}
  mov [ebx], al
  mov [ebx], ax
  mov [ebx], eax
  hlt`;

type Attach = Parameters<Vm["ioeventfd"]>[0];

/** Exits of the code with these eventfds attached, and what each has counted. */
function outcome(code: typeof ports, ...attached: Omit<Attach, "eventfd">[]): { exits: string[]; counts: number[] } {
  using m = machine(code);
  const eventfds = attached.map((o) => {
    const eventfd = EventFd.create();
    m.vm.ioeventfd({ ...o, eventfd });
    return eventfd;
  });
  const exits = m.trace();
  const counts = eventfds.map((eventfd) => eventfd.take());
  for (const eventfd of eventfds) eventfd.close();
  return { exits, counts };
}

for (const [lengthBytes, width] of [
  [1, "byte"],
  [2, "word"],
  [4, "dword"],
] as const) {
  it(
    `pio-width-${lengthBytes}`,
    `a port's ioeventfd of ${lengthBytes} bytes takes writes of that width and leaves the others to exit`,
    () => {
      const { exits, counts } = outcome(ports, { addr: 0x50, lengthBytes, pio: true });
      equal(exits.length, 3, "exits, hlt included");
      equal(
        exits.some((exit) => exit.startsWith(`out ${width} `)),
        false,
        `an exit of a ${width}`,
      );
      equal(counts, [1], "signals");
    },
  );
  it(
    `mmio-width-${lengthBytes}`,
    `an address's ioeventfd of ${lengthBytes} bytes takes writes of that width and leaves the others to exit`,
    () => {
      const { exits, counts } = outcome(memory, { addr: MMIO, lengthBytes });
      equal(exits.length, 3, "exits, hlt included");
      equal(
        exits.some((exit) => exit.startsWith(`write ${width} `)),
        false,
        `an exit of a ${width}`,
      );
      equal(counts, [1], "signals");
    },
  );
}

const memory64 = asm64`
  movabs rax, 0x8877665544332211
  mov ebx, ${MMIO}
  mov [rbx], rax
  mov [rbx], eax
  hlt`;

it("mmio-width-8", "an ioeventfd of 8 bytes takes 64-bit writes", () => {
  const { exits, counts } = outcome(memory64, { addr: MMIO, lengthBytes: 8 });
  equal(exits, ["write dword 0xd0000000: 0x44332211", "hlt"], "exits");
  equal(counts, [1], "signals");
});

it("any-length-pio", "length 0 takes a port's writes of every width", () => {
  needs("KVM_CAP_IOEVENTFD_ANY_LENGTH");
  equal(outcome(ports, { addr: 0x50, lengthBytes: 0, pio: true }), { exits: ["hlt"], counts: [3] }, "outcome");
});

it("any-length-mmio", "length 0 takes an address's writes of every width", () => {
  needs("KVM_CAP_IOEVENTFD_ANY_LENGTH");
  equal(outcome(memory, { addr: MMIO, lengthBytes: 0 }), { exits: ["hlt"], counts: [3] }, "outcome");
});

it("datamatch", "with datamatch only a write of that value signals", () => {
  const { exits, counts } = outcome(
    ports,
    { addr: 0x50, lengthBytes: 1, datamatch: 0x11, pio: true },
    { addr: 0x50, lengthBytes: 2, datamatch: 0x2212, pio: true },
  );
  equal(exits, ["out word 0x50: 0x2211", "out dword 0x50: 0x44332211", "hlt"], "exits");
  equal(counts, [1, 0], "signals");
});

it("datamatch-several", "several values on one address each signal their own eventfd", () => {
  const match = (datamatch: number): Omit<Attach, "eventfd"> => ({ addr: 0x51, lengthBytes: 1, datamatch, pio: true });
  equal(
    outcome(queues, match(0), match(1), match(2)),
    { exits: ["out byte 0x51: 0x3", "hlt"], counts: [2, 1, 1] },
    "outcome",
  );
});

const queues = asm16`
  mov al, 0
  out 0x51, al
  mov al, 1
  out 0x51, al
  mov al, 2
  out 0x51, al
  mov al, 3
  out 0x51, al
  mov al, 0
  out 0x51, al
  hlt`;

it("datamatch-width", "a datamatch is compared over the whole width", () =>
  equal(outcome(ports, { addr: 0x50, lengthBytes: 4, datamatch: 0x44332211, pio: true }).counts, [1], "signals"),
);

it(
  "collision",
  "a second eventfd for the same address, width and value is EEXIST; a wildcard collides with every value",
  () => {
    using m = machine(ports);
    using eventfd = EventFd.create();
    const at = { eventfd, addr: 0x50, lengthBytes: 1 as const, pio: true };
    m.vm.ioeventfd({ ...at, datamatch: 1 });
    refuses("EEXIST", () => m.vm.ioeventfd({ ...at, datamatch: 1 }));
    refuses("EEXIST", () => m.vm.ioeventfd(at));
    m.vm.ioeventfd({ ...at, datamatch: 2 });
  },
);

it("reads-exit", "a read from the address exits", () => {
  using m = machine(portRead);
  using eventfd = EventFd.create();
  m.vm.ioeventfd({ eventfd, addr: 0x50, lengthBytes: 1, pio: true });
  equal(m.next(), "in byte 0x50", "exit");
  equal(eventfd.take(), 0, "signals");
});

const portRead = asm16`
  in al, 0x50
  hlt`;

it("deassign", "a deassigned ioeventfd signals no more, and its address exits again", () => {
  using m = machine(ports);
  using eventfd = EventFd.create();
  const at = { eventfd, addr: 0x50, lengthBytes: 1 as const, pio: true };
  m.vm.ioeventfd(at);
  m.vm.ioeventfd({ ...at, deassign: true });
  equal(m.next(), "out byte 0x50: 0x11", "exit");
  equal(eventfd.take(), 0, "signals");
});

it("deassign-unknown", "deassigning what is not assigned is ENOENT", () => {
  using m = machine(ports);
  using eventfd = EventFd.create();
  refuses("ENOENT", () => m.vm.ioeventfd({ eventfd, addr: 0x50, lengthBytes: 1, pio: true, deassign: true }));
});

it("length-checked", "a length that is no access width is EINVAL, and so is length 0 with a value to match", () => {
  using m = machine(ports);
  using eventfd = EventFd.create();
  for (const lengthBytes of [3, 5, 16])
    refuses("EINVAL", () => m.vm.ioeventfd({ eventfd, addr: 0x50, lengthBytes: lengthBytes as 1, pio: true }));
  refuses("EINVAL", () => m.vm.ioeventfd({ eventfd, addr: 0x50, lengthBytes: 0, datamatch: 1, pio: true }));
});

it("wrap-checked", "an address range that wraps around is EINVAL", () => {
  using m = machine(ports);
  using eventfd = EventFd.create();
  refuses("EINVAL", () => m.vm.ioeventfd({ eventfd, addr: 0xffffffffffffffffn, lengthBytes: 8 }));
});

it("flags-checked", "unknown flags are EINVAL", () => {
  using m = machine(ports);
  using eventfd = EventFd.create();
  const bytes = b.Ioeventfd.from({ addr: 0x50, len: 1, fd: eventfd.fd, flags: 0x100 }).bytes;
  refuses("EINVAL", () => m.vm.ioctlBytes(b.KVM_IOEVENTFD, bytes));
});

it("not-an-eventfd", "a descriptor that is no eventfd is EINVAL, one that is not open EBADF", () => {
  using m = machine(ports);
  const attach = (fd: number) => m.vm.ioctlBytes(b.KVM_IOEVENTFD, b.Ioeventfd.from({ addr: 0x50, len: 1, fd }).bytes);
  refuses("EINVAL", () => attach(m.vm.fd));
  refuses("EBADF", () => attach(-1 >>> 1));
});

it(
  "duplicate-descriptor",
  "closing the descriptor that was given leaves the ioeventfd in place while another descriptor of the eventfd is open",
  () => {
    using m = machine(queues);
    const eventfd = EventFd.create();
    m.vm.ioeventfd({ eventfd, addr: 0x51, lengthBytes: 1, pio: true });
    using kept = EventFd.adopt(eventfd.fd);
    eventfd.close();
    equal(m.next(), "hlt", "exit");
    equal(kept.take(), 5, "signals by the descriptor that is left");
  },
);
