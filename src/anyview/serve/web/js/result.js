/** A finished result: the 3D view, the depth pictures, and what is around them. */

import { removeJob } from "./api.js";
import { makeControls } from "./controls.js";
import { DepthPictures } from "./depth.js";
import { byId, element } from "./dom.js";
import { showDownloads } from "./downloads.js";
import { sayError, sayErrorUnless } from "./messages.js";
import { isPosed, readPoints } from "./scene.js";
import { unitName } from "./units.js";
import { Viewer } from "./viewer.js";

/** @typedef {import("./scene.js").SceneDescription} SceneDescription */
/** @typedef {import("./source.js").Source} Source */
/** @typedef {"space" | "depth"} Tab */

/**
 * Show a result until the signal comes.
 *
 * @param {Source} source
 * @param {AbortSignal} signal
 */
export async function showResult(source, signal) {
  byId("strip", HTMLElement).replaceChildren();
  byId("result-title", HTMLElement).textContent = "Loading the result …";
  const scene = /** @type {SceneDescription} */ (await source.json("view/scene.json"));
  signal.throwIfAborted(); // another result may be on the page by now
  const title = `${scene.views.length} view${scene.views.length > 1 ? "s" : ""} with ${source.job.model}`;
  byId("result-units", HTMLElement).textContent = `Lengths in ${scene.metric ? "metres" : unitName(scene.units)}.`;
  byId("notes", HTMLElement).replaceChildren(...scene.notes.map((note) => element("li", {}, note)));
  showDownloads(source, signal);
  showRemoval(source, signal);
  const pictures = await Promise.all(scene.views.map(async ({ image }) => source.blob(image)));
  signal.throwIfAborted();
  const depth = makeDepthPictures(source, scene, pictures, signal);
  const viewer = await makeViewer(source, scene, pictures, signal);
  byId("result-title", HTMLElement).textContent = title;
  let chosen = 0;
  /** @type {Tab} */
  let tab = "space";
  const buttons = showStrip(source, scene, (index) => {
    chosen = index;
    if (tab === "depth") showDepth();
    else viewer?.flyToView(index);
  });
  const mark = () => buttons.forEach((button, index) => button.setAttribute("aria-current", String(tab === "depth" && index === chosen)));
  const showDepth = () => {
    mark();
    depth.show(chosen).catch(sayErrorUnless(signal));
  };
  makeTabs(viewer, (shown) => {
    tab = shown;
    if (tab === "depth") showDepth();
    else mark();
  }, signal);
}

/**
 * @param {Source} source
 * @param {SceneDescription} scene
 * @param {Blob[]} pictures
 * @param {AbortSignal} signal
 * @returns {Promise<Viewer | null>} None for results without cameras.
 */
async function makeViewer(source, scene, pictures, signal) {
  const views = scene.views.filter(isPosed);
  if (!scene.points || views.length < scene.views.length) return null;
  const points = readPoints(await source.bytes(scene.points.file));
  signal.throwIfAborted();
  // A canvas whose drawing context was disposed of cannot have another.
  const canvas = element("canvas", { id: "stage-canvas", tabindex: 0, role: "application", "aria-label": "3D view; its keys are listed beside it" });
  byId("stage-canvas", HTMLCanvasElement).replaceWith(canvas);
  const context = canvas.getContext("webgl2", { antialias: true });
  if (!context) {
    sayError("This browser cannot draw in 3D (it has no WebGL 2), so only the depth pictures are shown.");
    return null;
  }
  const viewer = new Viewer(context, canvas, byId("measure-label", HTMLElement), views, scene.units, points);
  signal.addEventListener("abort", () => viewer.dispose());
  const hang = async (/** @type {Blob} */ picture, /** @type {number} */ index) =>
    viewer.setPicture(index, await createImageBitmap(picture, { resizeWidth: 256, resizeQuality: "medium" }));
  Promise.all(pictures.map(hang)).catch(sayErrorUnless(signal));
  makeControls(viewer, source, scene, signal);
  return viewer;
}

/**
 * @param {Source} source
 * @param {SceneDescription} scene
 * @param {Blob[]} pictures
 * @param {AbortSignal} signal
 */
function makeDepthPictures(source, scene, pictures, signal) {
  const parts = {
    canvas: byId("depth-canvas", HTMLCanvasElement),
    scale: byId("depth-scale", HTMLCanvasElement),
    legend: byId("depth-legend", HTMLElement),
    readout: byId("depth-readout", HTMLElement),
    distance: byId("depth-distance", HTMLElement),
  };
  const depth = new DepthPictures(parts, scene, async (index) => {
    const view = scene.views[index];
    const maps = [view.depth, view.confidence].map(async (name) => (name ? new Float32Array(await source.bytes(name)) : null));
    const [values, confidence] = await Promise.all(maps);
    return { picture: await createImageBitmap(pictures[index]), depth: /** @type {Float32Array} */ (values), confidence };
  }, signal);
  const shown = byId("depth-shown", HTMLSelectElement);
  for (const option of shown.options) option.hidden = option.value === "confidence" && !scene.views[0].confidence;
  shown.value = depth.shown;
  shown.addEventListener("change", () => {
    depth.shown = /** @type {import("./depth.js").Shown} */ (shown.value);
    depth.paint();
  }, { signal });
  return depth;
}

/**
 * @param {Viewer | null} viewer
 * @param {(shown: Tab) => void} onShow
 * @param {AbortSignal} signal
 */
function makeTabs(viewer, onShow, signal) {
  const tabs = { space: byId("tab-space", HTMLButtonElement), depth: byId("tab-depth", HTMLButtonElement) };
  /** @param {Tab} name */
  const show = (name) => {
    for (const [other, tab] of Object.entries(tabs)) tab.setAttribute("aria-pressed", String(other === name));
    for (const part of document.querySelectorAll("[data-tab]")) part.toggleAttribute("hidden", part.getAttribute("data-tab") !== name);
    onShow(name);
  };
  tabs.space.hidden = !viewer;
  tabs.space.addEventListener("click", () => show("space"), { signal });
  tabs.depth.addEventListener("click", () => show("depth"), { signal });
  show(viewer ? "space" : "depth");
}

/**
 * @param {Source} source
 * @param {SceneDescription} scene
 * @param {(index: number) => void} onView
 * @returns {HTMLButtonElement[]}
 */
function showStrip(source, scene, onView) {
  const buttons = scene.views.map(({ name, image }, index) => {
    const picture = element("img", { src: source.address(image), alt: "" });
    return element("button", { type: "button", title: name, onclick: () => onView(index) }, picture, element("span", {}, name));
  });
  byId("strip", HTMLElement).replaceChildren(...buttons);
  return buttons;
}

/**
 * @param {Source} source
 * @param {AbortSignal} signal
 */
function showRemoval(source, signal) {
  const button = byId("remove", HTMLButtonElement);
  button.hidden = !source.isOurs;
  const remove = async () => {
    if (!confirm("Delete this result and its files from the server?")) return;
    try {
      await removeJob(source.job.id);
      location.hash = "#/";
    } catch (error) {
      sayError(error);
    }
  };
  button.addEventListener("click", remove, { signal });
}
