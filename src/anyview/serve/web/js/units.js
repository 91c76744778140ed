/** Lengths, sizes and times as people read them. */

/** What a length is counted in, by `units` of a prediction. */
const UNIT_NAMES = { metres: "m", caller: "units of the given cameras", arbitrary: "units (scale unknown)", canonical: "canonical units" };

/**
 * A length with three significant digits, in metres or centimetres where the scene is metric, otherwise with its unit named.
 *
 * @param {number} length
 * @param {string} units As in `scene.json`.
 */
export function lengthText(length, units) {
  if (!Number.isFinite(length)) return "none";
  if (units === "metres") return length < 1 ? `${significant(100 * length)} cm` : `${significant(length)} m`;
  return `${significant(length)} ${unitName(units)}`;
}

/**
 * Two lengths, with the unit once where it has a long name.
 *
 * @param {number} low
 * @param {number} high
 * @param {string} units As in `scene.json`.
 */
export function rangeText(low, high, units) {
  const first = units === "metres" ? lengthText(low, units) : significant(low);
  return `${first} … ${lengthText(high, units)}`;
}

/** @param {string} units */
export function unitName(units) {
  return UNIT_NAMES[/** @type {keyof typeof UNIT_NAMES} */ (units)] ?? units;
}

/** @param {string} text */
export const capitalised = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

/** @param {number} value */
export function significant(value) {
  return String(Number(value.toPrecision(3)));
}

/** @param {number} bytes */
export function sizeText(bytes) {
  const names = ["bytes", "kB", "MB", "GB"];
  let power = 0;
  while (bytes >= 1000 && power < names.length - 1) {
    bytes /= 1000;
    power += 1;
  }
  return `${power ? significant(bytes) : bytes} ${names[power]}`;
}

/** @param {number} time Seconds since 1970. */
export function dateText(time) {
  return new Date(1000 * time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
