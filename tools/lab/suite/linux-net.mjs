/**
 * Debian's Linux on the network: over a tap it fetches a file from a server on the host's side; over passt, with nothing
 * set up, it gets its address by DHCP, fetches the same file, and serves one itself behind a forwarded port. When passt is
 * killed its link goes down, and it goes on. Exit status: 0 when all is as it should be.
 */
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildInitramfs, chooseKernel } from "../dist/index.js";
import { endAll, start, until } from "./programs.mjs";

const VMM = "packages/vmm/bin/vmm.js";
const FILE_MIB = 256;
const PIECE = randomBytes(2 ** 20);
const FORWARDED = 18080;
const TAP = "tkvm0";

const ip = (...args) => execFileSync("ip", args, { stdio: ["ignore", "ignore", "inherit"] });

/** A file of FILE_MIB for whoever asks; returns the port and the file's checksum. */
async function serve() {
  const hash = createHash("md5");
  for (let i = 0; i < FILE_MIB; i++) hash.update(PIECE);
  const server = createServer((_request, response) => {
    response.writeHead(200, { "content-length": FILE_MIB * PIECE.length });
    let left = FILE_MIB;
    const more = () => {
      while (left > 0 && response.write(PIECE)) left--;
      if (left > 0) {
        left--;
        response.once("drain", more);
      } else response.end();
    };
    more();
  });
  await new Promise((resolve) => server.listen(0, "0.0.0.0", resolve));
  return { server, port: server.address().port, md5: hash.digest("hex") };
}

const FACT = `fact() { echo "fact $1 $2"; }
fact mac "$(cat /sys/class/net/eth0/address)"
`;

const overTap = (port) => `${FACT}
ip addr add 10.99.0.2/24 dev eth0
ip link set eth0 up
fact md5 "$(wget -q -O - http://10.99.0.1:${port}/ | md5sum | cut -d' ' -f1)"
fact lost "$(ping -q -c 20 -i 0.05 -s 1400 10.99.0.1 | sed -n 's/.* \\([0-9]*\\)% packet loss.*/\\1/p')"
`;

const overPasst = (port) => `${FACT}
cat >/dhcp <<'END'
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"
ip route add default via "$router" dev "$interface"
echo "$router" >/gateway
END
chmod 755 /dhcp
ip link set eth0 up
udhcpc -q -n -f -i eth0 -s /dhcp >/dev/null 2>&1 || fact dhcp failed
fact md5 "$(wget -q -O - "http://$(cat /gateway):${port}/" | md5sum | cut -d' ' -f1)"
mkdir /www
echo "a guest's page" >/www/index.html
httpd -p 80 -h /www
echo "serving"
while [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do sleep 0.2; done
fact carrier "$(cat /sys/class/net/eth0/carrier)"
`;

function boot(folder, name, { path: kernel, modulesDirectory }, script, ...net) {
  const initramfs = join(folder, `${name}.cpio`);
  writeFileSync(initramfs, buildInitramfs({ script, modules: ["virtio_mmio", "virtio_net"], modulesDirectory }));
  return start("node", [
    ...[VMM, "run", "--name", name, "--kernel", kernel, "--initrd", initramfs, "--append", "console=ttyS0 loglevel=4"],
    ...["--memory", "256M", ...net],
  ]);
}

function compare(name, guest, expected) {
  const said = guest.out.text;
  const facts = Object.fromEntries([...said.matchAll(/^fact (\S+) (.*?)\r?$/gm)].map(([, key, value]) => [key, value]));
  console.log(name, JSON.stringify(facts));
  const faults = Object.entries(expected)
    .filter(([key, value]) => facts[key] !== value)
    .map(([key, value]) => `${name}: ${key} is ${facts[key]}, not ${value}`);
  return faults.length === 0 ? [] : [...faults, `${said.slice(-1500)}${guest.out.errors}`];
}

async function tap(folder, kernel, { port, md5 }) {
  ip("tuntap", "add", "mode", "tap", "name", TAP);
  ip("addr", "add", "10.99.0.1/24", "dev", TAP);
  ip("link", "set", TAP, "up");
  const guest = boot(folder, "tap", kernel, overTap(port), "--net", `tap,name=${TAP},mac=52:54:00:12:34:56`);
  await guest.done;
  return compare("tap", guest, { mac: "52:54:00:12:34:56", md5, lost: "0" });
}

const page = (url) =>
  new Promise((resolve) => {
    get(url, (response) => {
      let text = "";
      response.on("data", (bytes) => {
        text += bytes;
      });
      response.on("end", () => resolve(text));
    }).on("error", (error) => resolve(String(error)));
  });

/** Processes of that name. */
function pidsOf(name) {
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/comm`, "utf8").startsWith(name);
      } catch {
        return false;
      }
    })
    .map(Number);
}

async function passt(folder, kernel, { port, md5 }) {
  // passt takes the guest's address from the interface that leads out; in here none does.
  execFileSync("modprobe", ["dummy"]);
  ip("link", "add", "out0", "type", "dummy");
  ip("addr", "add", "192.0.2.2/24", "dev", "out0");
  ip("link", "set", "out0", "up");
  ip("route", "add", "default", "via", "192.0.2.1");
  const guest = boot(folder, "passt", kernel, overPasst(port), "--net", `user,forward=${FORWARDED}:80`);
  await until("the guest's server", guest, () => guest.out.text.includes("serving"));
  const got = await page(`http://127.0.0.1:${FORWARDED}/`);
  for (const pid of pidsOf("passt")) process.kill(pid, "SIGKILL");
  const status = await guest.done;
  const faults = compare("passt", guest, { md5, carrier: "0" });
  if (got !== "a guest's page\n") faults.push(`passt: the forwarded port gave ${JSON.stringify(got)}`);
  if (status !== 0 || !/passt has ended/.test(guest.out.errors))
    faults.push(`passt: status ${status}: ${guest.out.errors}`);
  if (pidsOf("passt").length > 0) faults.push("passt: it is still running");
  return faults;
}

const folder = mkdtempSync(join(tmpdir(), "linux-net-"));
const served = await serve();
try {
  const kernel = chooseKernel({});
  const faults = [...(await tap(folder, kernel, served)), ...(await passt(folder, kernel, served))];
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  endAll();
  served.server.closeAllConnections();
  served.server.close();
  rmSync(folder, { recursive: true, force: true });
}
