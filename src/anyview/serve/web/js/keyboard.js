/** The 3D view by keys. */

import { isTyping } from "./dom.js";

/** @typedef {import("./viewer.js").Viewer} Viewer */

const TURN = 0.08;
const PAN_PIXELS = 25;
const ZOOM = 0.9;
/** Of a walker, however fast the screen is. */
const STEPS_PER_SECOND = 20;
const LONGEST_FRAME_S = 0.1;

/** Directions of a walker: right, up, ahead. @type {Record<string, [number, number, number]>} */
const WALKING = { w: [0, 0, 1], s: [0, 0, -1], a: [-1, 0, 0], d: [1, 0, 0], e: [0, 1, 0], q: [0, -1, 0] };

/** Right and up. @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/**
 * Let keys move the viewer while its canvas has the focus. W, A, S, D, E and Q move as long as they are held.
 *
 * @param {Viewer} viewer
 * @param {{ measure: () => void, walk: () => void }} actions
 * @param {AbortSignal} signal Ends it.
 */
export function listenToKeys(viewer, actions, signal) {
  const { canvas, navigation } = viewer;
  const held = new Set();
  let frame = 0;
  let last = 0;

  const walk = () => {
    frame = held.size ? requestAnimationFrame(walk) : 0;
    if (!held.size) return;
    const now = performance.now();
    const way = navigation.step * STEPS_PER_SECOND * Math.min((now - last) / 1000, LONGEST_FRAME_S);
    last = now;
    const [right, up, ahead] = [0, 1, 2].map((axis) => way * [...held].reduce((sum, key) => sum + WALKING[key][axis], 0));
    navigation.move(right, up, ahead);
  };

  const start = () => {
    last = performance.now() - 1000 / STEPS_PER_SECOND; // a short press is one step
    walk();
  };

  /** @type {Record<string, () => void>} */
  const commands = {
    "+": () => navigation.zoom(ZOOM),
    "=": () => navigation.zoom(ZOOM),
    "-": () => navigation.zoom(1 / ZOOM),
    f: () => viewer.overview(),
    r: actions.walk,
    m: actions.measure,
    Enter: () => viewer.mark(),
    Escape: () => viewer.clearMarks(),
  };

  /** @param {KeyboardEvent} event */
  const onKey = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key in WALKING) {
      held.add(key);
      if (!frame) start();
    } else if (key in ARROWS) {
      const [right, up] = ARROWS[key];
      if (event.shiftKey) navigation.move(right * PAN_PIXELS * navigation.pixel(), up * PAN_PIXELS * navigation.pixel(), 0);
      else if (navigation.mode === "orbit") navigation.turn(TURN * right, -TURN * up);
      else navigation.turn((-TURN / 2) * right, (TURN / 2) * up);
    } else if (/^[1-9]$/.test(key) && Number(key) <= viewer.views.length) viewer.flyToView(Number(key) - 1);
    else if (key in commands) commands[key]();
    else return;
    event.preventDefault();
  };

  canvas.addEventListener("keydown", onKey, { signal });
  canvas.addEventListener("keyup", (event) => held.delete(event.key.toLowerCase()), { signal });
  canvas.addEventListener("blur", () => held.clear(), { signal });
  signal.addEventListener("abort", () => held.clear());
}
