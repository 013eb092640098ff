/** `--share TAG=DIR[,ro]`. */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { ShareSpec } from "../machine/spec.js";
import { MOST_TAG_BYTES } from "../virtio/devices/share/share.js";
import { CliError, whyNot } from "./errors.js";

/** Throws CliError. */
export function shareSpecs(texts: readonly string[]): ShareSpec[] {
  const specs = texts.map(shareSpec);
  specs.forEach(({ tag }, index) => {
    if (specs.findIndex((each) => each.tag === tag) < index)
      throw new CliError(`--share ${texts[index]}: the tag ${tag} twice`);
  });
  return specs;
}

function shareSpec(text: string): ShareSpec {
  const refuse = (why: string): never => {
    throw new CliError(`--share ${text}: ${why}`);
  };
  const [, tag, rest] =
    /^([^=]+)=(.+)$/s.exec(text) ?? refuse("TAG=DIR, and ,ro behind it for a guest that may not write");
  const readonly = rest!.endsWith(",ro");
  const path = resolve(readonly ? rest!.slice(0, -",ro".length) : rest!);
  if (Buffer.byteLength(tag!) > MOST_TAG_BYTES) refuse(`a tag is at most ${MOST_TAG_BYTES} bytes`);
  try {
    if (!statSync(path).isDirectory()) refuse(`${path}: not a folder`);
  } catch (error) {
    if (error instanceof CliError) throw error;
    refuse(`${path}: ${whyNot(error)}`);
  }
  return { kind: "share", tag: tag!, path, readonly };
}
