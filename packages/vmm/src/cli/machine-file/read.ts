/** A machine file: JSON that is checked against FIELDS, and becomes what the command line would have said. */
import { closeSync, openSync, readSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { CliError, whyNot } from "../errors.js";
import { FIELDS, type Field, optionKey } from "./fields.js";
import { type Item, type ItemForm, type Property, resolvedIn } from "./items.js";

/** By the keys of RunOptions. */
export type OptionValues = Record<string, string | boolean | readonly string[]>;

const MOST_BYTES = 2 ** 20;

/** Throws CliError: one line, with the place in the file. */
export function readMachineFile(path: string): OptionValues {
  const text = readText(path);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new CliError(`--config ${path}: ${(error as Error).message.replaceAll("\n", " ")}`);
  }
  return machineOptions(json, { name: path, folder: dirname(resolve(path)) });
}

function readText(path: string): string {
  try {
    const fd = openSync(path, "r");
    try {
      const bytes = Buffer.alloc(MOST_BYTES + 1);
      let length = 0;
      for (let read = -1; read !== 0 && length <= MOST_BYTES; length += read)
        read = readSync(fd, bytes, { offset: length });
      if (length > MOST_BYTES) throw new CliError(`--config ${path}: larger than 1 MiB`);
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length));
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (error instanceof CliError) throw error;
    if (error instanceof TypeError) throw new CliError(`--config ${path}: not UTF-8`);
    throw new CliError(`--config ${path}: ${whyNot(error)}`);
  }
}

interface Source {
  /** As the user calls the file. */
  readonly name: string;
  /** What relative paths are relative to. */
  readonly folder: string;
}

/** Throws CliError. */
export function machineOptions(json: unknown, source: Source): OptionValues {
  const refuse = (place: string, why: string): never => {
    throw new CliError(`--config ${source.name}: ${place === "" ? "" : `${place}: `}${why}`);
  };
  if (!isObject(json)) return refuse("", "not an object with a machine's properties");
  const options: OptionValues = {};
  for (const [name, value] of Object.entries(json)) {
    const field = Object.hasOwn(FIELDS, name) ? FIELDS[name]! : refuse(name, unknown(FIELDS));
    options[optionKey(name)] = fieldValue(field, value, { ...source, place: name, refuse });
  }
  return options;
}

interface Context extends Source {
  readonly place: string;
  refuse(place: string, why: string): never;
}

function fieldValue(field: Field, value: unknown, context: Context): OptionValues[string] {
  const { place, folder, refuse } = context;
  switch (field.kind) {
    case "flag":
      return typeof value === "boolean" ? value : refuse(place, "true or false");
    case "quantity":
      if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return String(value);
      return typeof value === "string" ? value : refuse(place, "a whole number, or a text");
    case "text": {
      const text = textValue(value, field.choices, context);
      return resolvedIn(folder, text, field.path);
    }
    case "paths":
      return elements(value, context).map((each) => resolve(folder, textValue(each.value, undefined, each.context)));
    case "items":
      return elements(value, context).map((each) => itemText(field.form, each.value, each.context));
  }
}

/** A list, each with its place; what stands alone is a list of one. */
function elements(value: unknown, context: Context): { value: unknown; context: Context }[] {
  if (!Array.isArray(value)) return [{ value, context }];
  return value.map((each, index) => ({ value: each, context: { ...context, place: `${context.place}[${index}]` } }));
}

function textValue(value: unknown, choices: readonly string[] | undefined, { place, refuse }: Context): string {
  if (typeof value !== "string") return refuse(place, choices ? `one of ${choices.join(", ")}` : "a text");
  if (choices !== undefined && !choices.includes(value)) refuse(place, `one of ${choices.join(", ")}`);
  if (value.includes("\0")) refuse(place, "a text without zero bytes");
  return value;
}

function itemText(form: ItemForm, value: unknown, context: Context): string {
  const { place, refuse } = context;
  const item = typeof value === "string" ? form.parse(value) : value;
  if (item === undefined) return value as string;
  if (!isObject(item)) return refuse(place, "an object, or a text as the option has it");
  const checked: Record<string, Item[string]> = {};
  for (const [key, part] of Object.entries(item)) {
    const property = Object.hasOwn(form.properties, key)
      ? form.properties[key]!
      : refuse(`${place}.${key}`, unknown(form.properties));
    checked[key] = propertyValue(property, part, { ...context, place: `${place}.${key}` });
  }
  const missing = form.required.find((key) => !Object.hasOwn(checked, key));
  if (missing !== undefined) refuse(place, `${missing} is missing`);
  return form.format(checked) ?? refuse(place, "a comma, which these texts cannot have");
}

function propertyValue(property: Property, value: unknown, context: Context): Item[string] {
  const { place, folder, refuse } = context;
  switch (property.kind) {
    case "flag":
      return typeof value === "boolean" ? value : refuse(place, "true or false");
    case "number":
      if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
      return refuse(place, "a whole number");
    case "texts":
      return elements(value, context).map((each) => textValue(each.value, undefined, each.context));
    case "text": {
      const text = textValue(value, property.choices, context);
      return resolvedIn(folder, text, property.path);
    }
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const unknown = (known: object): string => `there are ${Object.keys(known).join(", ")}`;
