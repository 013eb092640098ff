/**
 * Serves a folder by 9P2000.L on a Unix socket, one connection after the other, so that Linux's own client can be tried on it without a
 * machine in between: mount -t 9p -o trans=unix,version=9p2000.L SOCKET FOLDER
 *
 *   node serve-folder.mjs FOLDER SOCKET [OPTIONS AS JSON]      prints "ready"; on SIGUSR1 its open descriptors and fids
 */
import { readdirSync } from "node:fs";
import { createServer } from "node:net";
import { MAX_MSIZE, NinePServer } from "../../../packages/vmm/dist/index.js";

const [root, path, options = "{}"] = process.argv.slice(2);

const listener = createServer((socket) => {
  const server = new NinePServer({ root, ...JSON.parse(options) });
  const reply = new Uint8Array(MAX_MSIZE);
  let waiting = Buffer.alloc(0);
  socket.on("data", (bytes) => {
    waiting = waiting.length === 0 ? bytes : Buffer.concat([waiting, bytes]);
    while (waiting.length >= 7 && waiting.length >= waiting.readUInt32LE(0)) {
      const size = Math.max(7, waiting.readUInt32LE(0));
      const length = server.handle(waiting.subarray(0, size), reply);
      socket.write(Buffer.from(reply.subarray(0, length)));
      waiting = waiting.subarray(size);
    }
  });
  const report = () => {
    process.stdout.write(`${JSON.stringify({ fids: server.fidCount, fds: readdirSync("/proc/self/fd").length })}\n`);
  };
  process.on("SIGUSR1", report);
  socket.on("error", () => {});
  socket.on("close", () => {
    process.off("SIGUSR1", report);
    server.close();
  });
});
process.on("SIGUSR1", () => {});
listener.listen(path, () => process.stdout.write("ready\n"));
