/** A form made of a JSON schema; what differs from the defaults is what is sent. */

import { element } from "./dom.js";
import { capitalised } from "./units.js";

/**
 * @typedef {object} Schema
 * @property {string} [type]
 * @property {any[]} [enum]
 * @property {Schema[]} [anyOf]
 * @property {Schema} [items]
 * @property {any} [default]
 * @property {string} [description]
 * @property {Record<string, Schema>} [properties]
 * @property {number} [minimum]
 * @property {number} [maximum]
 *
 * @typedef {{ name: string, row: HTMLElement, read: () => any }} Field `read` gives undefined for the default.
 */

/**
 * @param {Schema} schema Of an object.
 * @returns {{ rows: HTMLElement[], values: () => Record<string, any> }}
 */
export function makeForm(schema) {
  const fields = Object.entries(schema.properties ?? {}).map(([name, property]) => makeField(name, property));
  return {
    rows: fields.map(({ row }) => row),
    values: () => Object.fromEntries(fields.map(({ name, read }) => [name, read()]).filter(([, value]) => value !== undefined)),
  };
}

/**
 * @param {string} name
 * @param {Schema} property
 * @returns {Field}
 */
function makeField(name, property) {
  const schema = { ...property, ...(property.anyOf?.find(({ type }) => type !== "null") ?? {}) };
  const input = makeInput(schema, property.default);
  const words = name.replaceAll("_", " ");
  const label = element("label", {}, input.box, element("span", {}, capitalised(words)));
  if (!(input.box instanceof HTMLInputElement && input.box.type === "checkbox")) label.append(input.box);
  input.box.setAttribute("name", name);
  const hint = element("small", {}, (property.description ?? "").replaceAll("`", ""));
  return { name, row: element("div", { class: "field" }, label, hint), read: input.read };
}

/**
 * @param {Schema} schema
 * @param {any} initial
 * @returns {{ box: HTMLInputElement | HTMLSelectElement, read: () => any }}
 */
function makeInput(schema, initial) {
  const unlessDefault = (/** @type {any} */ value) => (JSON.stringify(value) === JSON.stringify(initial) ? undefined : value);
  if (schema.enum) {
    const choices = schema.enum.map((value) => element("option", { value, selected: value === initial }, String(value).replaceAll("_", " ")));
    const box = element("select", {}, ...choices);
    return { box, read: () => unlessDefault(box.value) };
  }
  if (schema.type === "boolean") {
    const box = element("input", { type: "checkbox", checked: initial === true });
    return { box, read: () => unlessDefault(box.checked) };
  }
  if (schema.type === "array") {
    const box = element("input", { type: "text", placeholder: "numbers, separated by commas", pattern: "[\\d\\s,.\\-]*" });
    return { box, read: () => (box.value.trim() ? box.value.split(",").map(Number) : undefined) };
  }
  if (schema.type === "integer" || schema.type === "number") {
    const { minimum, maximum } = schema;
    const step = schema.type === "integer" ? 1 : "any";
    const box = element("input", { type: "number", step, min: minimum, max: maximum, placeholder: initial ?? "automatic" });
    return { box, read: () => (box.value === "" ? undefined : unlessDefault(Number(box.value))) };
  }
  const box = element("input", { type: "text", placeholder: initial ?? "" });
  return { box, read: () => (box.value === "" ? undefined : box.value) };
}
