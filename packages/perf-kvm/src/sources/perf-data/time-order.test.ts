import fc from "fast-check";
import { expect, it } from "vitest";
import { TimeOrder } from "./time-order.js";

it("sorts as a stable sort does, and keeps what is newer than the limit", () => {
  const times = fc.array(fc.nat({ max: 50 }), { maxLength: 200 });
  fc.assert(
    fc.property(fc.array(fc.tuple(times, fc.nat({ max: 60 })), { maxLength: 5 }), (rounds) => {
      const order = new TimeOrder();
      let waiting: [number, number][] = [];
      let value = 0;
      for (const [added, limit] of rounds) {
        for (const time of added) {
          waiting.push([time, value]);
          order.add(time, value++);
        }
        const count = order.sort(limit);
        waiting = waiting.sort((a, b) => a[0] - b[0]);
        const given = waiting.filter(([time]) => time <= limit);
        expect(count).toBe(given.length);
        expect([...order.values.subarray(0, count)]).toEqual(given.map(([, each]) => each));
        order.drop(count);
        waiting = waiting.filter(([time]) => time > limit);
        expect(order.length).toBe(waiting.length);
      }
    }),
  );
});

it("takes many more than it had room for, in the worst of orders", () => {
  const order = new TimeOrder();
  for (let i = 0; i < 50_000; i++) order.add(-i, i);
  expect(order.sort(Number.POSITIVE_INFINITY)).toBe(50_000);
  expect([order.values[0], order.values[49_999]]).toEqual([49_999, 0]);
});
