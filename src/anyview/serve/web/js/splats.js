/**
 * 3D Gaussians, each projected to an ellipse and blended back to front. Data lie in a texture, so sorting moves only
 * indices. Colours are those of all sides (degree 0), which is what `.splat` files hold. Corners come from the vertex
 * number, not from instances: drivers without a GPU take 0.4 ms for an instance.
 */

import * as THREE from "../vendor/three.module.min.js";

export const SPLAT_BYTES = 32;
const TEXELS = 3;
const SPLATS_PER_ROW = 512;
const BUCKETS = 1 << 16;

const VERTEX_SHADER = `
precision highp sampler2D;
uniform sampler2D data, order;
uniform vec2 viewport;
varying vec2 place;
varying vec4 shown;
void main() {
  int slot = gl_VertexID / 4;
  vec2 corner = vec2(gl_VertexID % 4 == 1 || gl_VertexID % 4 == 2, gl_VertexID % 4 > 1) * 2.0 - 1.0;
  int index = int(texelFetch(order, ivec2(slot % ${SPLATS_PER_ROW}, slot / ${SPLATS_PER_ROW}), 0).r);
  ivec2 first = ivec2(${TEXELS} * (index % ${SPLATS_PER_ROW}), index / ${SPLATS_PER_ROW});
  vec4 a = texelFetch(data, first, 0), b = texelFetch(data, first + ivec2(1, 0), 0), c = texelFetch(data, first + ivec2(2, 0), 0);
  vec4 center = modelViewMatrix * vec4(a.xyz, 1.0);
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0);
  if (center.z > -1e-4) return;
  // Covariance in the camera's frame, then in the picture through the derivative of the projection.
  mat3 covariance = mat3(b.x, b.y, b.z, b.y, b.w, c.x, b.z, c.x, c.y);
  mat3 turn = mat3(modelViewMatrix);
  vec2 focal = 0.5 * viewport * vec2(projectionMatrix[0][0], projectionMatrix[1][1]);
  vec2 slope = clamp(center.xy / -center.z, -2.0, 2.0);
  mat3 derivative = mat3(focal.x, 0.0, 0.0, 0.0, focal.y, 0.0, focal.x * slope.x, focal.y * slope.y, 0.0) * (1.0 / -center.z);
  mat3 spread = derivative * turn * covariance * transpose(turn) * transpose(derivative);
  float xx = spread[0][0] + 0.3, xy = spread[0][1], yy = spread[1][1] + 0.3;
  // Axes of the ellipse: eigenvectors of the 2x2 matrix.
  float middle = 0.5 * (xx + yy), gap = length(vec2(0.5 * (xx - yy), xy));
  vec2 longAxis = abs(xy) < 1e-6 ? (xx >= yy ? vec2(1.0, 0.0) : vec2(0.0, 1.0)) : normalize(vec2(xy, middle + gap - xx));
  vec2 lengths = min(sqrt(vec2(middle + gap, max(middle - gap, 0.1))), 512.0);
  place = 3.0 * corner;
  vec2 offset = place.x * lengths.x * longAxis + place.y * lengths.y * vec2(-longAxis.y, longAxis.x);
  vec4 clip = projectionMatrix * center;
  gl_Position = vec4(clip.xy / clip.w + 2.0 * offset / viewport, clip.z / clip.w, 1.0);
  uint packed = uint(c.z);
  shown = vec4(packed & 255u, (packed >> 8) & 255u, (packed >> 16) & 255u, c.w) / vec4(255.0, 255.0, 255.0, 1.0);
}`;

const FRAGMENT_SHADER = `
varying vec2 place;
varying vec4 shown;
void main() {
  float alpha = shown.a * exp(-0.5 * dot(place, place));
  if (alpha < 0.004) discard;
  gl_FragColor = vec4(shown.rgb, alpha);
}`;

/**
 * Centre, covariance, colour and opacity of each Gaussian as texels: (x y z ·) (xx xy xz yy) (yz zz rgb opacity).
 *
 * @param {ArrayBuffer} buffer Records of position, scale (float32 ×3), colour and opacity, quaternion wxyz (uint8 ×4).
 */
export function readSplats(buffer) {
  if (buffer.byteLength % SPLAT_BYTES) throw new Error(`expected Gaussians of ${SPLAT_BYTES} bytes, got ${buffer.byteLength} bytes`);
  const count = buffer.byteLength / SPLAT_BYTES;
  const floats = new Float32Array(buffer);
  const bytes = new Uint8Array(buffer);
  const rows = Math.max(1, Math.ceil(count / SPLATS_PER_ROW));
  const texels = new Float32Array(4 * TEXELS * SPLATS_PER_ROW * rows);
  const rotation = new THREE.Matrix4();
  const quaternion = new THREE.Quaternion();
  for (let index = 0; index < count; index += 1) {
    const from = 8 * index;
    const to = 4 * TEXELS * index;
    const [w, x, y, z] = bytes.subarray(4 * from + 28, 4 * from + 32);
    const m = rotation.makeRotationFromQuaternion(quaternion.set(x - 128, y - 128, z - 128, w - 128).normalize()).elements;
    const axes = [0, 1, 2].map((axis) => [0, 1, 2].map((row) => m[4 * axis + row] * floats[from + 3 + axis]));
    const covariance = (/** @type {number} */ row, /** @type {number} */ column) =>
      axes[0][row] * axes[0][column] + axes[1][row] * axes[1][column] + axes[2][row] * axes[2][column];
    texels.set(floats.subarray(from, from + 3), to);
    texels.set([covariance(0, 0), covariance(0, 1), covariance(0, 2), covariance(1, 1), covariance(1, 2), covariance(2, 2)], to + 4);
    const [red, green, blue, opacity] = bytes.subarray(4 * from + 24, 4 * from + 28);
    texels[to + 10] = red | (green << 8) | (blue << 16); // 24 bits are exact in a float
    texels[to + 11] = opacity / 255;
  }
  return { count, rows, texels };
}

/**
 * Indices from the farthest to the nearest, by a counting sort of depth along a direction.
 *
 * @param {Float32Array} texels
 * @param {number} count
 * @param {THREE.Vector3} ahead
 * @param {Float32Array} order Receives the indices.
 */
export function sortBackToFront(texels, count, ahead, order) {
  const depths = new Float32Array(count);
  let low = Infinity;
  let high = -Infinity;
  for (let index = 0; index < count; index += 1) {
    const start = 4 * TEXELS * index;
    const depth = texels[start] * ahead.x + texels[start + 1] * ahead.y + texels[start + 2] * ahead.z;
    depths[index] = depth;
    low = Math.min(low, depth);
    high = Math.max(high, depth);
  }
  const scale = high > low ? (BUCKETS - 1) / (high - low) : 0;
  const ends = new Uint32Array(BUCKETS + 1);
  for (const depth of depths) ends[BUCKETS - 1 - Math.floor((depth - low) * scale) + 1] += 1;
  for (let bucket = 0; bucket < BUCKETS; bucket += 1) ends[bucket + 1] += ends[bucket];
  for (let index = 0; index < count; index += 1) order[ends[BUCKETS - 1 - Math.floor((depths[index] - low) * scale)]++] = index;
}

export class Splats {
  #sortedAlong = new THREE.Vector3();

  /** @param {ArrayBuffer} buffer The contents of a `.splat` file. */
  constructor(buffer) {
    const { count, rows, texels } = readSplats(buffer);
    this.count = count;
    this.texels = texels;
    const data = new THREE.DataTexture(texels, TEXELS * SPLATS_PER_ROW, rows, THREE.RGBAFormat, THREE.FloatType);
    data.needsUpdate = true;
    this.order = new Float32Array(SPLATS_PER_ROW * rows);
    const order = new THREE.DataTexture(this.order, SPLATS_PER_ROW, rows, THREE.RedFormat, THREE.FloatType);
    const geometry = new THREE.BufferGeometry();
    const corners = new Uint32Array(6 * count);
    for (let index = 0; index < count; index += 1) corners.set([0, 1, 2, 0, 2, 3].map((corner) => 4 * index + corner), 6 * index);
    geometry.setIndex(new THREE.BufferAttribute(corners, 1));
    this.uniforms = { data: { value: data }, order: { value: order }, viewport: { value: new THREE.Vector2() } };
    const material = new THREE.ShaderMaterial({
      uniforms: this.uniforms,
      vertexShader: VERTEX_SHADER,
      fragmentShader: FRAGMENT_SHADER,
      transparent: true,
      depthWrite: false,
      side: THREE.DoubleSide,
    });
    this.object = new THREE.Mesh(geometry, material);
    this.object.frustumCulled = false;
    this.object.onBeforeRender = (renderer, _scene, camera) => {
      renderer.getDrawingBufferSize(this.uniforms.viewport.value);
      const ahead = camera.getWorldDirection(new THREE.Vector3());
      this.#sort(ahead.transformDirection(this.object.matrixWorld.clone().invert()));
    };
  }

  /** @param {THREE.Vector3} ahead In the Gaussians' frame. */
  #sort(ahead) {
    if (this.#sortedAlong.dot(ahead) > 0.999) return;
    this.#sortedAlong.copy(ahead);
    sortBackToFront(this.texels, this.count, ahead, this.order);
    this.uniforms.order.value.needsUpdate = true;
  }

  dispose() {
    this.object.geometry.dispose();
    this.object.material.dispose();
    this.uniforms.data.value.dispose();
    this.uniforms.order.value.dispose();
  }
}
