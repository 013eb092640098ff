/** A disk with a FAT16 file system and no partitions, as firmware reads one (Microsoft, "FAT: General Overview of On-Disk Format", 1.03). */
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";

const SECTOR = 512;
const SECTORS = 65_536;
const CLUSTER_SECTORS = 4;
const CLUSTER = CLUSTER_SECTORS * SECTOR;
const FAT_SECTORS = 64;
const ROOT_ENTRIES = 512;
const ENTRY = 32;
const ROOT_START = 1 + FAT_SECTORS;
const DATA_START = ROOT_START + (ROOT_ENTRIES * ENTRY) / SECTOR;
const END_OF_CHAIN = 0xffff;
const ARCHIVE = 0x20;

/** Writes a disk of 32 MiB to `path`; `files` are [name of eight characters at most, its ending of three, contents]. */
export function writeFatImage(path, files) {
  const fat = new Uint16Array((FAT_SECTORS * SECTOR) / 2);
  fat[0] = 0xfff8;
  fat[1] = END_OF_CHAIN;
  const root = Buffer.alloc(ROOT_ENTRIES * ENTRY);
  const fd = openSync(path, "w");
  try {
    ftruncateSync(fd, SECTORS * SECTOR);
    let cluster = 2;
    files.forEach(([name, ending, contents], index) => {
      const clusters = Math.max(1, Math.ceil(contents.length / CLUSTER));
      for (let i = 0; i < clusters; i++) fat[cluster + i] = i + 1 < clusters ? cluster + i + 1 : END_OF_CHAIN;
      const at = ENTRY * index;
      root.write(name.toUpperCase().padEnd(8) + ending.toUpperCase().padEnd(3), at, "latin1");
      root[at + 11] = ARCHIVE;
      root.writeUInt16LE(cluster, at + 26);
      root.writeUInt32LE(contents.length, at + 28);
      writeSync(fd, contents, 0, contents.length, SECTOR * DATA_START + CLUSTER * (cluster - 2));
      cluster += clusters;
    });
    writeSync(fd, bootSector(), 0, SECTOR, 0);
    writeSync(fd, Buffer.from(fat.buffer), 0, FAT_SECTORS * SECTOR, SECTOR);
    writeSync(fd, root, 0, root.length, SECTOR * ROOT_START);
  } finally {
    closeSync(fd);
  }
}

/** One table, and no code. */
function bootSector() {
  const sector = Buffer.alloc(SECTOR);
  sector.set([0xeb, 0x3c, 0x90]);
  sector.write("TOOLSKVM", 3, "latin1");
  sector.writeUInt16LE(SECTOR, 11);
  sector[13] = CLUSTER_SECTORS;
  sector.writeUInt16LE(1, 14);
  sector[16] = 1;
  sector.writeUInt16LE(ROOT_ENTRIES, 17);
  sector[21] = 0xf8;
  sector.writeUInt16LE(FAT_SECTORS, 22);
  sector.writeUInt32LE(SECTORS, 32);
  sector[36] = 0x80;
  sector[38] = 0x29;
  sector.write("NO NAME    FAT16   ", 43, "latin1");
  sector.set([0x55, 0xaa], 510);
  return sector;
}
