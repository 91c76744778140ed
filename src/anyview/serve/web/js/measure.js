/** The distance between two marked points: a line in the scene, and its length beside it. */

import * as THREE from "../vendor/three.module.min.js";
import { distance } from "./scene.js";
import { lengthText } from "./units.js";

/** @typedef {import("./scene.js").Triple} Triple */

const MARK_COLOR = "#ff2d9b";
const MARK_PIXELS = 11;

export class Measurement {
  /** @type {Triple[]} At most two. */
  marks = [];

  /**
   * @param {HTMLElement} label Laid over the canvas.
   * @param {string} units
   */
  constructor(label, units) {
    this.label = label;
    this.units = units;
    this.object = new THREE.Group();
    const always = { color: MARK_COLOR, depthTest: false, transparent: true };
    this.line = new THREE.Line(new THREE.BufferGeometry(), new THREE.LineBasicMaterial(always));
    this.ends = new THREE.Points(
      this.line.geometry,
      new THREE.PointsMaterial({ ...always, size: MARK_PIXELS, sizeAttenuation: false }),
    );
    for (const part of [this.line, this.ends]) {
      part.frustumCulled = false;
      part.renderOrder = 10;
    }
    this.object.add(this.line, this.ends);
    this.clear();
  }

  /**
   * Add an end; a third starts anew.
   *
   * @param {Triple} point In the world.
   * @returns {string} What is marked now, in a sentence.
   */
  add(point) {
    this.marks = this.marks.length === 2 ? [point] : [...this.marks, point];
    this.#update();
    return this.marks.length === 2 ? `Distance: ${this.text()}` : "First point marked; mark the second.";
  }

  clear() {
    this.marks = [];
    this.#update();
  }

  /** The distance with its unit; empty without two marks. */
  text() {
    return this.marks.length === 2 ? lengthText(distance(this.marks[0], this.marks[1]), this.units) : "";
  }

  #update() {
    this.line.geometry.setAttribute("position", new THREE.Float32BufferAttribute(this.marks.flat(), 3));
    this.object.visible = this.marks.length > 0;
    this.label.textContent = this.text();
    this.label.hidden = !this.label.textContent;
  }

  /**
   * Lay the label above the line, below it, or over the middle of a line that is as high as the canvas: it hides no end.
   *
   * @param {THREE.Matrix4} toClip
   * @param {HTMLCanvasElement} canvas
   */
  placeLabel(toClip, canvas) {
    if (this.marks.length < 2) return;
    const [first, second] = this.marks.map(([x, y, z]) => new THREE.Vector4(x, y, z, 1).applyMatrix4(toClip));
    this.label.hidden = Math.min(first.w, second.w) <= 0;
    const across = ((first.x / first.w + second.x / second.w) / 4 + 0.5) * canvas.clientWidth;
    const [top, bottom] = [first, second].map(({ y, w }) => (0.5 - y / w / 2) * canvas.clientHeight).sort((a, b) => a - b);
    const { offsetWidth: width, offsetHeight: height } = this.label;
    const x = Math.min(Math.max(across - width / 2, 0), canvas.clientWidth - width);
    const heights = [top - MARK_PIXELS - height, bottom + MARK_PIXELS, (top + bottom - height) / 2];
    const y = heights.find((place) => place >= 0 && place + height <= canvas.clientHeight) ?? 0;
    this.label.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`;
  }

  dispose() {
    this.line.geometry.dispose();
    this.line.material.dispose();
    this.ends.material.dispose();
    this.label.hidden = true;
  }
}
