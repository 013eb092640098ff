/** Devices as a machine file has them, objects, and as the command line has them, texts with words behind commas. */
import { resolve } from "node:path";

/** A path, and what stands before it. */
export interface PathIn {
  readonly before: string;
  readonly path: string;
}
/** The path in a text that names a file, which is meant relative to the machine file. */
export type FindPath = (text: string) => PathIn | undefined;

export const wholePath: FindPath = (path) => ({ before: "", path });
export const sinkPath: FindPath = (text) => {
  const [, before, path] = /^(file:|socket:)(.+)$/s.exec(text) ?? [];
  return path === undefined ? undefined : { before: before!, path };
};

/** The text with its path made absolute. */
export function resolvedIn(folder: string, text: string, find: FindPath | undefined): string {
  const found = find?.(text);
  return found === undefined ? text : `${found.before}${resolve(folder, found.path)}`;
}

export type Property =
  | { readonly kind: "text"; readonly choices?: readonly string[]; readonly path?: FindPath }
  | { readonly kind: "texts" }
  | { readonly kind: "number" }
  | { readonly kind: "flag" };

export type Item = Readonly<Record<string, string | number | boolean | readonly string[]>>;

export interface ItemForm {
  readonly properties: Readonly<Record<string, Property>>;
  /** Properties without which there is no such device. */
  readonly required: readonly string[];
  /** Undefined when the text has a word that is no property: then it is for the option's own reader to complain. */
  parse(text: string): Item | undefined;
  /** The text of an item whose properties are of their kinds; undefined when there is none, because of a comma. */
  format(item: Item): string | undefined;
}

/** `LEAD,key=value,flag`: the first word is the value of `lead`; one that may be there several times comes as a list. */
export function wordsForm(lead: string, properties: ItemForm["properties"]): ItemForm {
  return {
    properties,
    required: [lead],
    parse(text) {
      const [first = "", ...words] = text.split(",");
      const item: Record<string, string | number | boolean | string[]> = { [lead]: first };
      for (const word of words) {
        const [, key, value] = /^([^=]*)(?:=(.*))?$/s.exec(word)!;
        const property = Object.hasOwn(properties, key!) && key !== lead ? properties[key!] : undefined;
        if (property === undefined || (value === undefined) !== (property.kind === "flag")) return undefined;
        if (property.kind === "flag") item[key!] = true;
        else if (property.kind === "texts") item[key!] = [...((item[key!] ?? []) as string[]), value!];
        else if (Object.hasOwn(item, key!)) return undefined;
        else if (property.kind === "text") item[key!] = value!;
        else if (/^(0|[1-9]\d{0,14})$/.test(value!)) item[key!] = Number(value);
        else return undefined;
      }
      return item;
    },
    format(item) {
      const words = Object.entries(item).flatMap(([key, value]) => {
        if (key === lead || value === false) return [];
        if (value === true) return [key];
        return (Array.isArray(value) ? value : [value]).map((each) => `${key}=${each}`);
      });
      const all = [`${item[lead]}`, ...words];
      return all.some((word) => word.includes(",")) ? undefined : all.join(",");
    },
  };
}

/** `TAG=DIR[,ro]`: the folder's name may have commas in it. */
export const shareForm: ItemForm = {
  properties: { tag: { kind: "text" }, dir: { kind: "text", path: wholePath }, ro: { kind: "flag" } },
  required: ["tag", "dir"],
  parse(text) {
    const match = /^([^=]+)=(.+?)(,ro)?$/s.exec(text);
    if (match === null) return undefined;
    const [, tag, dir, ro] = match;
    return { tag: tag!, dir: dir!, ...(ro === undefined ? {} : { ro: true }) };
  },
  format({ tag, dir, ro }) {
    // A folder that is called like the word behind the comma needs something behind its name.
    const folder = `${dir}`.endsWith(",ro") ? `${dir}/` : `${dir}`;
    return `${tag}=${folder}${ro === true ? ",ro" : ""}`;
  },
};

/** `NAME=WHERE`. */
export const portForm: ItemForm = {
  properties: { name: { kind: "text" }, to: { kind: "text", path: sinkPath } },
  required: ["name", "to"],
  parse(text) {
    const [, name, to] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
    return name === undefined ? undefined : { name, to: to! };
  },
  format: ({ name, to }) => `${name}=${to}`,
};
