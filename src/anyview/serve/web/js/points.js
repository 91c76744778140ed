/** The point cloud: every slider is a uniform of its shader, so nothing is computed again. */

import * as THREE from "../vendor/three.module.min.js";
import { MAP_COLOR_GLSL, quantiles } from "./colors.js";

/** @typedef {import("./scene.js").Points} Points */
/** @typedef {{ x: number, y: number }} Place */
/** @typedef {"rgb" | "depth" | "confidence"} Coloring */

const COLORINGS = ["rgb", "depth", "confidence"];
const SMALLEST_PIXELS = 1.5;

const VERTEX_SHADER = `
uniform float size, pixelsPerSlope, leastConfidence;
uniform int coloring;
uniform vec2 depthRange, confidenceRange;
attribute vec3 color;
attribute float confidence, depth, footprint;
varying vec3 shown;
${MAP_COLOR_GLSL}
float shareOf(float value, vec2 range) {
  return range.y > range.x ? log(value / range.x) / log(range.y / range.x) : 0.5;
}
void main() {
  vec4 place = modelViewMatrix * vec4(position, 1.0);
  gl_Position = confidence < leastConfidence ? vec4(0.0, 0.0, 2.0, 1.0) : projectionMatrix * place;
  gl_PointSize = clamp(size * footprint * pixelsPerSlope / max(-place.z, 1e-6), ${SMALLEST_PIXELS.toFixed(1)}, 64.0);
  shown = coloring == 0 ? color : mapColor(coloring == 1 ? 1.0 - shareOf(depth, depthRange) : shareOf(confidence, confidenceRange));
}`;

const FRAGMENT_SHADER = `
varying vec3 shown;
void main() { gl_FragColor = vec4(shown, 1.0); }`;

export class PointCloud {
  /**
   * @param {Points} points
   * @param {number[]} focalLengths Of each view, pixels: a point covers its pixel, so that surfaces have no holes.
   */
  constructor(points, focalLengths) {
    this.points = points;
    this.leastConfidence = 0;
    /** Confidence at each percent, so that the slider hides shares of the points. */
    this.percentiles = quantiles(points.confidence, Array.from({ length: 101 }, (_, percent) => percent / 100));
    const [low, high] = quantiles(points.depth, [0.02, 0.98]);
    this.footprint = points.depth.map((depth, index) => depth / focalLengths[points.view[index]]);
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(points.positions, 3));
    geometry.setAttribute("color", new THREE.BufferAttribute(points.colors, 3, true));
    for (const [name, values] of Object.entries({ confidence: points.confidence, depth: points.depth, footprint: this.footprint })) {
      geometry.setAttribute(name, new THREE.BufferAttribute(values, 1));
    }
    this.uniforms = {
      size: { value: 1 },
      pixelsPerSlope: { value: 1 },
      leastConfidence: { value: 0 },
      coloring: { value: 0 },
      depthRange: { value: new THREE.Vector2(low, high) },
      confidenceRange: { value: new THREE.Vector2(this.percentiles[2], this.percentiles[98]) },
    };
    this.object = new THREE.Points(
      geometry,
      new THREE.ShaderMaterial({ uniforms: this.uniforms, vertexShader: VERTEX_SHADER, fragmentShader: FRAGMENT_SHADER }),
    );
    this.object.frustumCulled = false;
    this.object.onBeforeRender = (renderer, _scene, camera) => {
      const height = renderer.getDrawingBufferSize(new THREE.Vector2()).y;
      this.uniforms.pixelsPerSlope.value = (height / 2) * camera.projectionMatrix.elements[5];
    };
  }

  /**
   * The share of points, in percent, that a threshold of confidence hides.
   *
   * @param {number} threshold
   */
  percentBelow(threshold) {
    return Math.max(this.percentiles.findIndex((value) => value >= threshold), 0);
  }

  /** @param {number} size Of a point, in pixels of the picture it comes from. */
  setSize(size) {
    this.uniforms.size.value = size;
  }

  /** @param {Coloring} coloring */
  setColoring(coloring) {
    this.uniforms.coloring.value = COLORINGS.indexOf(coloring);
  }

  /**
   * Hide the least sure points.
   *
   * @param {number} percent Of all points, 0 to 100.
   * @returns {number} The confidence from which points are shown.
   */
  hideLeastSure(percent) {
    this.leastConfidence = percent > 0 ? this.percentiles[Math.round(percent)] : 0;
    this.uniforms.leastConfidence.value = this.leastConfidence;
    return this.leastConfidence;
  }

  /**
   * The point that is seen at a place: the frontmost one drawn over it; else the one nearest to it within a radius.
   *
   * @param {THREE.Matrix4} toClip World to clip space.
   * @param {Place} pointer Normalised device coordinates.
   * @param {Place} radius Likewise.
   * @param {Place} pixel Size of a pixel, likewise.
   * @returns {import("./scene.js").Triple | null}
   */
  pick(toClip, pointer, radius, pixel) {
    const m = toClip.elements;
    const { positions, confidence, count } = this.points;
    const [scale, least] = [this.uniforms.size.value * this.uniforms.pixelsPerSlope.value, this.leastConfidence];
    let [covering, front, nearest, offset] = [-1, Infinity, -1, 1];
    for (let index = 0; index < count; index += 1) {
      if (confidence[index] < least) continue;
      const x = positions[3 * index];
      const y = positions[3 * index + 1];
      const z = positions[3 * index + 2];
      const w = m[3] * x + m[7] * y + m[11] * z + m[15];
      if (w <= 0) continue;
      const right = Math.abs((m[0] * x + m[4] * y + m[8] * z + m[12]) / w - pointer.x);
      const up = Math.abs((m[1] * x + m[5] * y + m[9] * z + m[13]) / w - pointer.y);
      const half = Math.max((scale * this.footprint[index]) / w, SMALLEST_PIXELS) / 2;
      if (w < front && right < half * pixel.x && up < half * pixel.y) [covering, front] = [index, w];
      const away = (right / radius.x) ** 2 + (up / radius.y) ** 2;
      if (away < offset) [nearest, offset] = [index, away];
    }
    const best = covering >= 0 ? covering : nearest;
    if (best < 0) return null;
    return [positions[3 * best], positions[3 * best + 1], positions[3 * best + 2]];
  }

  dispose() {
    this.object.geometry.dispose();
    this.object.material.dispose();
  }
}
