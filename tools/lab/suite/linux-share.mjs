/**
 * A folder of the host's in Debian's Linux by 9P: 256 MiB each way with their checksums, names that come and go, links, a
 * share that cannot be written, and a link that leads out of the folder only as far as the guest's own root. Exit status: 0
 * when all is as it should be.
 */
import { createHash, randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildInitramfs, chooseKernel } from "../dist/index.js";
import { endAll, start } from "./programs.mjs";

const VMM = "packages/vmm/bin/vmm.js";
const MIB = 2 ** 20;
const SIZE_MIB = 256;

const MOUNT = "mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144";
const SCRIPT = `
fact() { echo "fact $1 $2"; }
mkdir /shared /fixed
${MOUNT} work /shared || fact mount failed
${MOUNT} fixed /fixed || fact mount failed
cd /shared
fact read "$(dd if=from-host bs=256k 2>/dev/null | md5sum | cut -d" " -f1)"
dd if=from-host of=from-guest bs=256k 2>/dev/null
mkdir -p a/b
echo one >a/b/file
mv a/b/file a/renamed
ln -s renamed a/symbolic
ln a/renamed a/hard
chmod 640 a/renamed
echo two >>a/hard
rm -r a/b
exec 3>gone; rm gone; echo "still open" >&3 && fact unlinked-file-is-written yes; exec 3>&-
for i in $(seq 300); do : >"many-$i"; done
fact many "$(ls | grep -c many-)"
rm many-*
fact out "$(cat way-out/secret 2>&1 | tail -c 40)"
fact readonly "$(touch /fixed/x 2>&1 | sed 's/.*: //')"
fact fixed "$(cat /fixed/file)"
cd /
umount /shared && fact unmounted yes
`;

const md5 = (bytes) => createHash("md5").update(bytes).digest("hex");

function prepare(folder) {
  for (const name of ["work", "fixed", "outside"]) mkdirSync(join(folder, name));
  const bytes = Buffer.alloc(SIZE_MIB * MIB);
  const piece = randomBytes(MIB);
  for (let at = 0; at < bytes.length; at += MIB) piece.copy(bytes, at);
  writeFileSync(join(folder, "work/from-host"), bytes);
  writeFileSync(join(folder, "outside/secret"), "the host's own");
  symlinkSync(join(folder, "outside"), join(folder, "work/way-out"));
  writeFileSync(join(folder, "fixed/file"), "as it was");
  return md5(bytes);
}

/** What the guest should have left in the folder, as faults where it has not. */
function lookAt(work, sum) {
  const faults = [];
  const expect = (what, found, expected) => {
    if (found !== expected) faults.push(`${what} is ${found}, not ${expected}`);
  };
  expect("from-guest", md5(readFileSync(join(work, "from-guest"))), sum);
  expect("a/renamed", readFileSync(join(work, "a/renamed"), "utf8"), "one\ntwo\n");
  expect("a/symbolic", readlinkSync(join(work, "a/symbolic")), "renamed");
  expect("a/hard's links", statSync(join(work, "a/hard")).nlink, 2);
  expect("a/renamed's mode", statSync(join(work, "a/renamed")).mode & 0o777, 0o640);
  for (const name of ["a/b", "gone", "many-1"]) expect(name, existsSync(join(work, name)), false);
  return faults;
}

const folder = mkdtempSync(join(tmpdir(), "linux-share-"));
try {
  const { path: kernel, modulesDirectory } = chooseKernel({});
  const sum = prepare(folder);
  const initramfs = join(folder, "initramfs");
  writeFileSync(
    initramfs,
    buildInitramfs({ script: SCRIPT, modules: ["virtio_mmio", "9pnet_virtio", "9p"], modulesDirectory }),
  );
  const guest = start("node", [
    ...[
      VMM,
      "run",
      "--kernel",
      kernel,
      "--initrd",
      initramfs,
      "--append",
      "console=ttyS0 loglevel=4",
      "--memory",
      "256M",
    ],
    ...["--share", `work=${join(folder, "work")}`, "--share", `fixed=${join(folder, "fixed")},ro`],
  ]);
  const status = await guest.done;
  const facts = Object.fromEntries(
    [...guest.out.text.matchAll(/^fact (\S+) (.*?)\r?$/gm)].map(([, key, value]) => [key, value]),
  );
  console.log(JSON.stringify(facts));
  const expected = {
    read: sum,
    "unlinked-file-is-written": "yes",
    many: "300",
    readonly: "Read-only file system",
    fixed: "as it was",
    unmounted: "yes",
  };
  const faults = Object.entries(expected)
    .filter(([key, value]) => facts[key] !== value)
    .map(([key, value]) => `${key} is ${facts[key]}, not ${value}`);
  if (!/No such file/.test(facts.out ?? "")) faults.push(`the link out gave ${facts.out}`);
  if (status !== 0) faults.push(`status ${status}: ${guest.out.errors}`);
  faults.push(...lookAt(join(folder, "work"), sum));
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  if (faults.length > 0) console.log(guest.out.text.slice(-1500), guest.out.errors);
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}
