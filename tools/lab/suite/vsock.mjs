/** Streams over vsock between a Linux guest and the host: the program in the guest, and the host's ends. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const SETTLE_MS = 60_000;

/** `listen PORT` echoes one stream until its end; `connect PORT` copies what the host sends to standard output. */
const VSOCK_SOURCE = `
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void copy(int from, int to) {
  static char bytes[65536];
  ssize_t got;
  while ((got = read(from, bytes, sizeof bytes)) > 0)
    for (ssize_t done = 0, put; done < got; done += put)
      if ((put = write(to, bytes + done, got - done)) <= 0) exit(1);
}

int main(int count, char **words) {
  struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_port = atoi(words[2])};
  int made = socket(AF_VSOCK, SOCK_STREAM, 0), stream = made;
  if (!strcmp(words[1], "listen")) {
    address.svm_cid = VMADDR_CID_ANY;
    if (bind(made, (void *)&address, sizeof address) || listen(made, 1)) return perror("listen"), 1;
    stream = accept(made, 0, 0);
    copy(stream, stream);
  } else {
    address.svm_cid = VMADDR_CID_HOST;
    if (connect(made, (void *)&address, sizeof address)) return perror("connect"), 1;
    copy(stream, 1);
  }
  return close(stream);
}
`;
export const STREAM_BYTES = 4 * 2 ** 20;

export function buildVsock(folder) {
  const [source, program] = [join(folder, "vsock.c"), join(folder, "vsock")];
  writeFileSync(source, VSOCK_SOURCE);
  execFileSync("gcc", ["-O1", "-static", "-o", program, source]);
  return readFileSync(program);
}

export const md5 = (bytes) => createHash("md5").update(bytes).digest("hex");

/** Serves the guest's connection to port 4321, once. */
export function serveGuest(path, bytes) {
  const server = createServer((socket) => socket.end(bytes, () => server.close()));
  server.listen(`${path}_4321`);
}

/** What the guest's port 1234 echoes. The guest may not listen yet: then it is tried again. */
export async function echoed(path, bytes) {
  for (let end = Date.now() + SETTLE_MS; Date.now() < end; await sleep(200)) {
    const socket = connect({ path, allowHalfOpen: true });
    const pieces = [];
    let sent = false;
    socket.on("error", () => {});
    socket.on("data", (piece) => {
      pieces.push(piece);
      if (sent || !piece.includes(10)) return;
      sent = true;
      socket.end(bytes);
    });
    socket.write("CONNECT 1234\n");
    await new Promise((resolve) => socket.once("close", resolve).once("end", resolve));
    socket.destroy();
    const all = Buffer.concat(pieces);
    if (sent) return { line: all.subarray(0, all.indexOf(10)).toString(), echo: all.subarray(all.indexOf(10) + 1) };
  }
  throw new Error("the guest does not listen");
}
