import fc from "fast-check";
import { expect, it } from "vitest";
import { InputQueue } from "./input-queue.js";

it("hands over every byte once and in order, however it is pushed and taken", () => {
  const step = fc.oneof(fc.record({ push: fc.uint8Array({ maxLength: 8 }) }), fc.record({ room: fc.nat({ max: 10 }) }));
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const queue = new InputQueue();
      const pushed: number[] = [];
      const taken: number[] = [];
      for (const step of steps) {
        if ("push" in step) {
          queue.push(step.push);
          pushed.push(...step.push);
        } else {
          let { room } = step;
          const before = taken.length;
          const count = queue.offer((byte) => room-- > 0 && taken.push(byte) > 0);
          expect(count).toBe(taken.length - before);
          expect(count).toBe(Math.min(step.room, pushed.length - before));
        }
        expect(queue.length).toBe(pushed.length - taken.length);
      }
      queue.offer((byte) => taken.push(byte) > 0);
      expect(taken).toEqual(pushed);
    }),
  );
});
