/** Moving the viewer's camera: around a target (orbit), or as a walker (walk). Pointers and wheel; keys: keyboard.js. */

import * as THREE from "../vendor/three.module.min.js";
import { PLAIN_LENS } from "./framing.js";

/** @typedef {"orbit" | "walk"} Mode */
/** @typedef {import("./framing.js").Pose} Pose */

const RADIANS_PER_PIXEL = 0.006;
const CLICK_PIXELS = 5;
const FLIGHT_MS = 450;

export class Navigation {
  /** @type {Mode} */
  mode = "orbit";
  target = new THREE.Vector3();
  up = new THREE.Vector3(0, 1, 0);
  lens = PLAIN_LENS.clone();
  /** Length of a step of a walker. */
  step = 1;
  #flight = 0;
  /** @type {Map<number, { x: number, y: number }>} */
  #pointers = new Map();
  #travelled = 0;

  /**
   * @param {THREE.PerspectiveCamera} camera
   * @param {HTMLCanvasElement} canvas
   * @param {() => void} onChange
   * @param {(event: PointerEvent) => void} onClick A press without a drag.
   * @param {AbortSignal} signal Ends it.
   */
  constructor(camera, canvas, onChange, onClick, signal) {
    this.camera = camera;
    this.canvas = canvas;
    this.onChange = onChange;
    this.onClick = onClick;
    const listen = { signal };
    canvas.addEventListener("pointerdown", (event) => this.#press(event), listen);
    canvas.addEventListener("pointermove", (event) => this.#drag(event), listen);
    canvas.addEventListener("pointerup", (event) => this.#release(event), listen);
    canvas.addEventListener("pointercancel", (event) => this.#pointers.delete(event.pointerId), listen);
    canvas.addEventListener("contextmenu", (event) => event.preventDefault(), listen);
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { signal, passive: false });
    signal.addEventListener("abort", () => this.#stop());
  }

  /**
   * @param {number} yaw Radians, around the scene's up.
   * @param {number} pitch Radians, around the camera's right.
   */
  turn(yaw, pitch) {
    this.#stop();
    const pivot = this.mode === "orbit" ? this.target : this.camera.position.clone();
    const turns = [new THREE.Quaternion().setFromAxisAngle(this.up, yaw)];
    const pitched = new THREE.Quaternion().setFromAxisAngle(this.axis(0), pitch);
    const ahead = this.axis(2).negate().applyQuaternion(pitched);
    if (Math.abs(ahead.dot(this.up)) < 0.995) turns.unshift(pitched);
    for (const turn of turns) {
      this.camera.position.sub(pivot).applyQuaternion(turn).add(pivot);
      this.camera.quaternion.premultiply(turn);
      if (this.mode === "walk") this.target.sub(pivot).applyQuaternion(turn).add(pivot);
    }
    this.camera.quaternion.normalize();
    this.onChange();
  }

  /**
   * Move camera and target along the camera's axes.
   *
   * @param {number} right
   * @param {number} up
   * @param {number} ahead
   */
  move(right, up, ahead) {
    this.#stop();
    const way = this.axis(0).multiplyScalar(right).addScaledVector(this.axis(1), up).addScaledVector(this.axis(2), -ahead);
    this.camera.position.add(way);
    this.target.add(way);
    this.onChange();
  }

  /** @param {number} factor Of the distance to the target; a walker goes ahead instead. */
  zoom(factor) {
    if (this.mode === "walk") return this.move(0, 0, (1 - factor) * 2 * this.step);
    this.#stop();
    this.camera.position.sub(this.target).multiplyScalar(factor).add(this.target);
    return this.onChange();
  }

  /** @param {number} column Of the camera's rotation: 0 right, 1 up, 2 backwards. */
  axis(column) {
    return new THREE.Vector3().setComponent(column, 1).applyQuaternion(this.camera.quaternion);
  }

  /** Length in the scene of a pixel at the target's distance. */
  pixel() {
    const height = 2 * Math.tan(THREE.MathUtils.degToRad(this.camera.fov) / 2);
    return (height * this.camera.position.distanceTo(this.target)) / this.canvas.clientHeight;
  }

  /**
   * Stand somewhere.
   *
   * @param {Pose} pose
   */
  place(pose) {
    this.#stop();
    this.camera.position.copy(pose.position);
    this.camera.quaternion.copy(pose.quaternion);
    this.camera.fov = pose.fov;
    this.lens.copy(pose.lens);
    this.target.copy(pose.target);
    this.onChange();
  }

  /**
   * Fly somewhere; at once for those who want less motion.
   *
   * @param {Pose} goal
   */
  flyTo(goal) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return this.place(goal);
    this.#stop();
    const { camera } = this;
    const from = { position: camera.position.clone(), quaternion: camera.quaternion.clone(), fov: camera.fov, lens: this.lens.clone() };
    this.target.copy(goal.target);
    const start = performance.now();
    const frame = () => {
      const time = Math.min((performance.now() - start) / FLIGHT_MS, 1);
      const share = time * time * (3 - 2 * time);
      camera.position.lerpVectors(from.position, goal.position, share);
      camera.quaternion.slerpQuaternions(from.quaternion, goal.quaternion, share);
      this.lens.lerpVectors(from.lens, goal.lens, share);
      camera.fov = from.fov + (goal.fov - from.fov) * share;
      this.#flight = time < 1 ? requestAnimationFrame(frame) : 0;
      this.onChange();
    };
    return frame();
  }

  #stop() {
    cancelAnimationFrame(this.#flight);
    this.#flight = 0;
  }

  /** @param {PointerEvent} event */
  #press(event) {
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    if (this.#pointers.size === 0) this.#travelled = 0;
    else this.#travelled = Infinity; // two fingers are no click
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const right = event.clientX - before.x;
    const down = event.clientY - before.y;
    this.#travelled += Math.hypot(right, down);
    const others = [...this.#pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.#travelled <= CLICK_PIXELS) return;
    if (others.length) {
      const apart = (/** @type {{ x: number, y: number }} */ place) => Math.hypot(place.x - others[0].x, place.y - others[0].y);
      this.zoom(apart(before) / Math.max(apart({ x: event.clientX, y: event.clientY }), 1));
      this.#pan(right / 2, down / 2);
    } else if (event.shiftKey || event.buttons & 6) this.#pan(right, down);
    else {
      const turn = this.mode === "orbit" ? -RADIANS_PER_PIXEL : RADIANS_PER_PIXEL / 2;
      this.turn(turn * right, turn * down);
    }
  }

  /**
   * @param {number} right Pixels.
   * @param {number} down
   */
  #pan(right, down) {
    this.move(-right * this.pixel(), down * this.pixel(), 0);
  }

  /** @param {PointerEvent} event */
  #release(event) {
    if (this.#pointers.delete(event.pointerId) && this.#travelled <= CLICK_PIXELS) this.onClick(event);
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : 1);
    this.zoom(Math.exp(Math.max(Math.min(pixels, 200), -200) * 0.002));
  }
}
