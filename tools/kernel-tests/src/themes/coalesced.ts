/** Coalesced zones: writes that wait in a ring until the next exit. */
import { equal, refuses } from "../expect.js";
import { asm16, asm32 } from "../guest/code.js";
import { type Machine, MMIO, machine } from "../guest/machine.js";
import { themeOf } from "../registry.js";

const it = themeOf("coalesced", "api.rst, KVM_(UN)REGISTER_COALESCED_MMIO");

const writes = asm32`
  mov ebx, ${MMIO}
  mov eax, 0x44332211
  mov [ebx], eax
  mov [ebx + 0x10], ax
  mov [ebx + 0x20], al
  out 0x10, al
  hlt`;

function drained(m: Machine): [bigint, number, number, bigint][] {
  const entries: [bigint, number, number, bigint][] = [];
  m.vcpu.coalesced.drain(({ physAddr, len, pio, data }) => {
    entries.push([physAddr, len, pio, data.subarray(0, len).reduceRight((v, byte) => (v << 8n) | BigInt(byte), 0n)]);
  });
  return entries;
}

it("mmio", "writes into a zone make no exit, and are in the ring in their order", () => {
  using m = machine(writes);
  m.vm.registerCoalescedZone({ addr: MMIO, sizeBytes: 4096 });
  equal(m.next(), "out byte 0x10: 0x11", "first exit");
  equal(
    drained(m),
    [
      [BigInt(MMIO), 4, 0, 0x44332211n],
      [BigInt(MMIO + 0x10), 2, 0, 0x2211n],
      [BigInt(MMIO + 0x20), 1, 0, 0x11n],
    ],
    "ring",
  );
});

it("zone-bounds", "a write outside the zone exits, after those in it were put into the ring", () => {
  using m = machine(writes);
  m.vm.registerCoalescedZone({ addr: MMIO, sizeBytes: 0x10 });
  equal(m.next(), "write word 0xd0000010: 0x2211", "first exit");
  equal(drained(m), [[BigInt(MMIO), 4, 0, 0x44332211n]], "ring");
});

it("straddling", "a write that is only partly in the zone exits", () => {
  using m = machine(writes);
  m.vm.registerCoalescedZone({ addr: MMIO, sizeBytes: 2 });
  equal(m.next(), "write dword 0xd0000000: 0x44332211", "first exit");
});

const ports = asm16`
  mov ax, 0x201
  out 0x50, al
  out 0x50, ax
  in al, 0x50
  hlt`;

it(
  "pio",
  "port writes gather too, and are told apart from MMIO; reads of the zone exit",
  () => {
    using m = machine(ports);
    m.vm.registerCoalescedZone({ addr: 0x50, sizeBytes: 2, pio: true });
    equal(m.next(), "in byte 0x50", "first exit");
    equal(
      drained(m),
      [
        [0x50n, 1, 1, 1n],
        [0x50n, 2, 1, 0x201n],
      ],
      "ring",
    );
  },
  { source: "api.rst, KVM_CAP_COALESCED_PIO" },
);

const many = asm32`
  mov ebx, ${MMIO}
  mov ecx, 400
1: mov [ebx], ecx
  loop 1b
  hlt`;

it("full", "when the ring is full, the next write exits: none is lost and none is twice", () => {
  using m = machine(many);
  m.vm.registerCoalescedZone({ addr: MMIO, sizeBytes: 4096 });
  const values: number[] = [];
  const take = () => values.push(...drained(m).map(([, , , value]) => Number(value)));
  for (let exit = m.next(); exit !== "hlt"; exit = m.next()) {
    take();
    if (exit.startsWith("write")) values.push(m.run.mmioData[0]! | (m.run.mmioData[1]! << 8));
  }
  take();
  equal(
    values,
    Array.from({ length: 400 }, (_, i) => 400 - i),
    "values",
  );
});

it("unregister", "an unregistered zone exits again", () => {
  using m = machine(writes);
  const zone = { addr: MMIO, sizeBytes: 4096 };
  m.vm.registerCoalescedZone(zone);
  m.vm.unregisterCoalescedZone(zone);
  equal(m.next(), "write dword 0xd0000000: 0x44332211", "first exit");
});

it("pio-flag-checked", "the pio member is 0 or 1", () => {
  using m = machine(writes);
  const zone = new Uint8Array(16);
  const view = new DataView(zone.buffer);
  view.setUint32(8, 16, true);
  view.setUint32(12, 2, true);
  refuses("EINVAL", () => m.vm.ioctlBytes(0x4010ae67, zone));
});
