/** The machine file's JSON Schema (draft 2020-12), for editors and for other programs. */
import { FIELDS, type Field } from "./fields.js";
import type { ItemForm, Property } from "./items.js";

type Schema = Readonly<Record<string, unknown>>;

const COUNT = { type: "integer", minimum: 0 };

export function machineFileSchema(): Schema {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "A machine of vmm",
    type: "object",
    additionalProperties: false,
    properties: Object.fromEntries(
      Object.entries(FIELDS).map(([name, field]) => [name, { description: field.about, ...fieldSchema(field) }]),
    ),
  };
}

function fieldSchema(field: Field): Schema {
  switch (field.kind) {
    case "flag":
      return { type: "boolean" };
    case "quantity":
      return { anyOf: [COUNT, { type: "string" }] };
    case "text":
      return textSchema(field.choices);
    case "paths":
      return oneOrMore({ type: "string" });
    case "items":
      return oneOrMore({ anyOf: [{ type: "string" }, itemSchema(field.form)] });
  }
}

function textSchema(choices?: readonly string[]): Schema {
  return choices === undefined ? { type: "string" } : { enum: choices };
}

function oneOrMore(items: Schema): Schema {
  return { anyOf: [items, { type: "array", items }] };
}

function itemSchema({ properties, required }: ItemForm): Schema {
  return {
    type: "object",
    additionalProperties: false,
    required,
    properties: Object.fromEntries(Object.entries(properties).map(([key, each]) => [key, propertySchema(each)])),
  };
}

function propertySchema(property: Property): Schema {
  switch (property.kind) {
    case "flag":
      return { type: "boolean" };
    case "number":
      return COUNT;
    case "texts":
      return oneOrMore({ type: "string" });
    case "text":
      return textSchema(property.choices);
  }
}
