/** The colour map of depth and confidence: the same numbers for pictures (JavaScript) and points (GLSL). */

/** Dark blue, blue, green, yellow, orange, dark red; sRGB at equal steps from 0 to 1. */
const STOPS = [
  [48, 18, 59],
  [65, 125, 248],
  [27, 208, 213],
  [121, 254, 89],
  [232, 210, 53],
  [243, 99, 21],
  [122, 4, 3],
];

/**
 * @param {number} share 0 to 1; what lies outside gets the nearest end.
 * @returns {[number, number, number]} sRGB, 0 to 255.
 */
export function mapColor(share) {
  const place = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1);
  const left = Math.min(Math.floor(place), STOPS.length - 2);
  const mix = (/** @type {number} */ channel) =>
    Math.round(STOPS[left][channel] + (STOPS[left + 1][channel] - STOPS[left][channel]) * (place - left));
  return [mix(0), mix(1), mix(2)];
}

/** `vec3 mapColor(float share)`, sRGB from 0 to 1. */
export const MAP_COLOR_GLSL = `
const vec3 STOPS[${STOPS.length}] = vec3[](${STOPS.map((stop) => `vec3(${stop.map((value) => (value / 255).toFixed(4)).join(", ")})`).join(", ")});
vec3 mapColor(float share) {
  float place = clamp(share, 0.0, 1.0) * ${(STOPS.length - 1).toFixed(1)};
  int left = min(int(place), ${STOPS.length - 2});
  return mix(STOPS[left], STOPS[left + 1], place - float(left));
}`;

/**
 * Values at shares of the sorted finite values, from a sample of at most 20,000.
 *
 * @param {Float32Array} values
 * @param {number[]} shares Each 0 to 1.
 * @returns {number[]} NaN where there are no finite values.
 */
export function quantiles(values, shares) {
  const step = Math.max(1, Math.floor(values.length / 20000));
  const sample = [];
  for (let index = 0; index < values.length; index += step) if (Number.isFinite(values[index])) sample.push(values[index]);
  const sorted = Float32Array.from(sample).sort();
  return shares.map((share) => sorted[Math.round(share * (sorted.length - 1))] ?? NaN);
}

/**
 * Where a value lies between two ends, 0 to 1, on a logarithmic scale: near things get more colours than far ones.
 *
 * @param {number} value
 * @param {[number, number]} range Both above 0.
 */
export function shareOf(value, [low, high]) {
  return high > low ? Math.log(value / low) / Math.log(high / low) : 0.5;
}
