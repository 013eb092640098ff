/** A command line as the machine file that means the same. */
import { resolve } from "node:path";
import { FIELDS, type Field, optionKey } from "./fields.js";
import { type Item, resolvedIn } from "./items.js";

export type MachineFile = Record<string, string | number | boolean | readonly (string | Item)[]>;

/** Paths become absolute; what is neither given nor has a default is left out. */
export function machineFile(options: Readonly<Record<string, unknown>>, folder: string): MachineFile {
  const file: MachineFile = {};
  for (const [name, field] of Object.entries(FIELDS)) {
    const value = options[optionKey(name)];
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    file[name] = fileValue(field, value, folder);
  }
  return file;
}

function fileValue(field: Field, value: unknown, folder: string): MachineFile[string] {
  switch (field.kind) {
    case "flag":
      return value as boolean;
    case "quantity":
      return /^(0|[1-9]\d{0,14})$/.test(value as string) ? Number(value) : (value as string);
    case "text":
      return resolvedIn(folder, value as string, field.path);
    case "paths":
      return (value as string[]).map((path) => resolve(folder, path));
    case "items":
      return (value as string[]).map((text) => {
        const item = field.form.parse(text);
        if (item === undefined) return text;
        const { properties } = field.form;
        return Object.fromEntries(
          Object.entries(item).map(([key, part]) => {
            const property = properties[key]!;
            return [key, property.kind === "text" ? resolvedIn(folder, `${part}`, property.path) : part];
          }),
        );
      });
  }
}
