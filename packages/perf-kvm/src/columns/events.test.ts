import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseTraceFormat } from "../sources/trace-format.js";
import { type EventName, FORMATS, formatText, Records } from "../testing.js";
import { EVENT, EVENT_NAMES, EventColumns, EventDecoder } from "./events.js";

const decoder = new EventDecoder(FORMATS);

function decodeAll(records: Records, capacity = 1000) {
  const columns = new EventColumns(capacity);
  const view = records.view();
  return { columns, ...decoder.decode(view, 0, view.byteLength, columns) };
}

function row({ kind, timeNs, reason, variant, detail }: EventColumns, index: number) {
  return [kind[index], timeNs[index], reason[index], variant[index], detail[index]];
}

describe("the decoder of trace events", () => {
  it("puts each field into its column", () => {
    const late = 2 ** 45 + 12_345;
    const { columns } = decodeAll(
      new Records()
        .sample("kvm_exit", late, { exit_reason: 0x7b, isa: 2, info1: 0x3f8_0010 })
        .sample("kvm_entry", late + 1)
        .sample("kvm_userspace_exit", 3, { reason: 2 })
        .sample("kvm_pio", 4, { rw: 1, port: 0x3f8 })
        .sample("kvm_mmio", 5, { type: 2, gpa: 0xfeb0_0004n })
        .sample("kvm_msr", 6, { write: 1, ecx: 0xc000_0080 }),
    );
    expect(columns.length).toBe(6);
    expect(row(columns, 0)).toEqual([EVENT.EXIT, late, 0x7b, 2, 0x3f8_0010]);
    expect(row(columns, 1)).toEqual([EVENT.ENTRY, late + 1, 0, 0, 0]);
    expect(row(columns, 2)).toEqual([EVENT.USERSPACE_EXIT, 3, 2, 0, 0]);
    expect(row(columns, 3)).toEqual([EVENT.PIO, 4, 0, 1, 0x3f8]);
    expect(row(columns, 4)).toEqual([EVENT.MMIO, 5, 0, 2, 0xfeb0_0004]);
    expect(row(columns, 5)).toEqual([EVENT.MSR, 6, 0, 1, 0xc000_0080]);
  });

  it("goes by the ids and offsets of the running kernel", () => {
    const text = formatText("kvm_pio", 777).replace("port;\toffset:12", "port;\toffset:20");
    const moved = new EventDecoder([parseTraceFormat(text)]);
    const view = new DataView(new ArrayBuffer(56));
    view.setUint32(0, 9, true);
    view.setUint16(6, 56, true);
    view.setUint32(16, 32, true);
    view.setUint16(20, 777, true);
    view.setUint32(20 + 20, 0x70, true);
    const columns = new EventColumns(1);
    moved.decode(view, 0, 56, columns);
    expect(row(columns, 0)).toEqual([EVENT.PIO, 0, 0, 0, 0x70]);
  });

  it("counts what the kernel lost", () => {
    const { lost, columns } = decodeAll(
      new Records()
        .lost(5)
        .sample("kvm_entry", 1)
        .lost(2 ** 33),
    );
    expect({ lost, events: columns.length }).toEqual({ lost: 5 + 2 ** 33, events: 1 });
  });

  it("stops when the columns are full, and goes on from there", () => {
    const records = new Records();
    for (let time = 0; time < 10; time++) records.sample("kvm_entry", time);
    const view = records.view();
    const times: number[] = [];
    for (let at = 0; at < view.byteLength; ) {
      const columns = new EventColumns(3);
      at = decoder.decode(view, at, view.byteLength, columns).next;
      times.push(...columns.timeNs.subarray(0, columns.length));
    }
    expect(times).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it("passes over records of other types and events of other ids", () => {
    const bytes = new Records().sample("kvm_entry", 1).sample("kvm_entry", 2).sample("kvm_entry", 3).bytes();
    const recordBytes = bytes.length / 3;
    const view = new DataView(bytes.buffer);
    view.setUint32(0, 3, true); // PERF_RECORD_COMM
    view.setUint16(recordBytes + 20, 9999, true);
    const columns = new EventColumns(9);
    decoder.decode(view, 0, bytes.length, columns);
    expect([...columns.timeNs.subarray(0, columns.length)]).toEqual([3]);
  });

  it("gives every event back, whatever they are", () => {
    const event = fc.record({
      name: fc.constantFrom(...EVENT_NAMES),
      time: fc.nat({ max: 2 ** 31 - 1 }),
      value: fc.nat({ max: 0xffff }),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 50 }), (events) => {
        const records = new Records();
        for (const { name, time, value } of events)
          records.sample(name as EventName, time, { exit_reason: value, port: value });
        const { columns } = decodeAll(records);
        expect([...columns.kind.subarray(0, columns.length)]).toEqual(
          events.map(({ name }) => EVENT_NAMES.indexOf(name)),
        );
        expect([...columns.timeNs.subarray(0, columns.length)]).toEqual(events.map(({ time }) => time));
      }),
    );
  });

  it("survives every byte: it ends, throws nothing, and never gives more than there is room for", () => {
    const valid = new Records()
      .sample("kvm_exit", 1, { exit_reason: 0x7b, isa: 2 })
      .sample("kvm_pio", 2, { port: 1 })
      .lost(3)
      .sample("kvm_entry", 4)
      .bytes();
    const change = fc.record({
      at: fc.nat({ max: valid.length - 1 }),
      to: fc.oneof(fc.constantFrom(0, 1, 8, 0xff), fc.nat(255)),
    });
    const mutated = fc
      .tuple(fc.array(change, { maxLength: 12 }), fc.nat({ max: valid.length }))
      .map(([changes, length]) => {
        const bytes = valid.slice();
        for (const { at, to } of changes) bytes[at] = to;
        return bytes.slice(0, length);
      });
    fc.assert(
      fc.property(
        fc.oneof(mutated, fc.uint8Array({ maxLength: 300 })),
        fc.integer({ min: 1, max: 4 }),
        (bytes, capacity) => {
          const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
          const columns = new EventColumns(capacity);
          const { next, lost } = decoder.decode(view, 0, bytes.length, columns);
          expect(next).toBeLessThanOrEqual(bytes.length);
          expect(columns.length).toBeLessThanOrEqual(capacity);
          expect(lost).toBeGreaterThanOrEqual(0);
        },
      ),
      { numRuns: 20_000 },
    );
  });
});
