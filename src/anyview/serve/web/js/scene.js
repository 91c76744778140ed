/** What `view/scene.json` and `view/points.bin` say, and the geometry of its cameras. OpenCV axes throughout. */

/**
 * @typedef {object} View
 * @property {string} name
 * @property {number} width
 * @property {number} height
 * @property {number[][] | null} intrinsics 3×3, pixels.
 * @property {number[][] | null} world_to_camera 4×4.
 * @property {string} image File of the picture.
 * @property {string} depth File of float32 z-depth, row by row; 0 where there is none.
 * @property {string | null} confidence File of float32 confidence.
 *
 * @typedef {View & { intrinsics: number[][], world_to_camera: number[][] }} PosedView
 *
 * @typedef {object} SceneDescription
 * @property {View[]} views
 * @property {string} units
 * @property {boolean} metric
 * @property {string[]} notes What is worth knowing, in sentences.
 * @property {{ file: string, count: number, confidence_threshold: number | null } | null} points
 * @property {{ file: string, count: number, total: number } | null} gaussians The largest and most opaque of all.
 * @property {string | null} mesh
 *
 * @typedef {object} Points
 * @property {number} count
 * @property {Float32Array} positions x, y, z of each point in the world.
 * @property {Uint8Array} colors Red, green, blue of each.
 * @property {Float32Array} confidence
 * @property {Float32Array} depth In the view that saw it.
 * @property {Uint16Array} view
 *
 * @typedef {[number, number, number]} Triple
 */

export const POINT_BYTES = 28;

/**
 * Read records of x, y, z (float32), red, green, blue, alpha (uint8), confidence, depth (float32), view and padding
 * (uint16), little-endian.
 *
 * @param {ArrayBuffer} buffer
 * @returns {Points}
 */
export function readPoints(buffer) {
  if (buffer.byteLength % POINT_BYTES) throw new Error(`expected points of ${POINT_BYTES} bytes, got ${buffer.byteLength} bytes`);
  const count = buffer.byteLength / POINT_BYTES;
  const floats = new Float32Array(buffer);
  const bytes = new Uint8Array(buffer);
  const shorts = new Uint16Array(buffer);
  const points = {
    count,
    positions: new Float32Array(3 * count),
    colors: new Uint8Array(3 * count),
    confidence: new Float32Array(count),
    depth: new Float32Array(count),
    view: new Uint16Array(count),
  };
  for (let index = 0; index < count; index += 1) {
    const start = 7 * index;
    for (let axis = 0; axis < 3; axis += 1) {
      points.positions[3 * index + axis] = floats[start + axis];
      points.colors[3 * index + axis] = bytes[4 * start + 12 + axis];
    }
    points.confidence[index] = floats[start + 4];
    points.depth[index] = floats[start + 5];
    points.view[index] = shorts[2 * start + 12];
  }
  return points;
}

/**
 * The place in the camera's frame of a pixel at a depth.
 *
 * @param {{ intrinsics: number[][] }} view
 * @param {number} x Pixels from the picture's left edge; the first pixel's centre is 0.5.
 * @param {number} y
 * @param {number} depth
 * @returns {Triple}
 */
export function unproject({ intrinsics: [[fx, skew, cx], [, fy, cy]] }, x, y, depth) {
  const down = (y - cy) / fy;
  return [((x - cx - skew * down) / fx) * depth, down * depth, depth];
}

/**
 * The world's place of a point in a camera's frame: Rᵀ (p - t).
 *
 * @param {PosedView} view
 * @param {Triple} point
 * @returns {Triple}
 */
export function toWorld({ world_to_camera: rows }, point) {
  const moved = point.map((value, axis) => value - rows[axis][3]);
  const along = (/** @type {number} */ column) => rows[0][column] * moved[0] + rows[1][column] * moved[1] + rows[2][column] * moved[2];
  return [along(0), along(1), along(2)];
}

/** @param {PosedView} view */
export const cameraCenter = (view) => toWorld(view, [0, 0, 0]);

/**
 * @param {Triple} from
 * @param {Triple} to
 */
export const distance = (from, to) => Math.hypot(to[0] - from[0], to[1] - from[1], to[2] - from[2]);

/**
 * Whether a view has a camera, without which there is no space around it.
 *
 * @param {View} view
 * @returns {view is PosedView}
 */
export const isPosed = (view) => view.intrinsics !== null && view.world_to_camera !== null;
