/** A builder for AML, the byte code of ACPI tables (ACPI 6.5, chapter 20). Every function returns finished bytes. */
export { buffer, eisaId, integer, ONES, packageOf, string, uuid } from "./data.js";
export { AmlError } from "./errors.js";
export {
  add,
  and,
  arg,
  createDwordField,
  equal,
  local,
  not,
  or,
  reference,
  shiftLeft,
  shiftRight,
  store,
  subtract,
  xor,
} from "./expressions.js";
export { nameSegment, nameString } from "./name.js";
export { device, type MethodOptions, method, name, scope } from "./objects.js";
export { pkgInteger, pkgLength } from "./pkg-length.js";
export { type FieldElement, type FieldOptions, field, operationRegion, REGION_SPACE } from "./region.js";
export {
  dwordMemory,
  type InterruptOptions,
  interrupt,
  ioPorts,
  irqNoFlags,
  memory32Fixed,
  qwordMemory,
  resourceTemplate,
  type WindowOptions,
  wordBusNumber,
  wordIo,
} from "./resources.js";
export { elseThen, ifThen, notify, returns, whileLoop } from "./statements.js";
