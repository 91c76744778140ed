/** A finished result: the 3D view, the depth pictures, and what is around them. */

import { removeJob } from "./api.js";
import { DepthPictures } from "./depth.js";
import { byId, element } from "./dom.js";
import { showDownloads } from "./downloads.js";
import { listenToKeys } from "./keyboard.js";
import { sayError } from "./messages.js";
import { isPosed, readPoints } from "./scene.js";
import { significant, unitName } from "./units.js";
import { Viewer } from "./viewer.js";

/** @typedef {import("./scene.js").SceneDescription} SceneDescription */
/** @typedef {import("./source.js").Source} Source */

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
  const title = `${scene.views.length} view${scene.views.length > 1 ? "s" : ""} with ${source.job.model}`;
  byId("result-units", HTMLElement).textContent = `Lengths in ${scene.metric ? "metres" : unitName(scene.units)}.`;
  byId("notes", HTMLElement).replaceChildren(...scene.notes.map((note) => element("li", {}, note)));
  showDownloads(source, signal);
  showRemoval(source, signal);
  const pictures = await Promise.all(scene.views.map(async ({ image }) => source.blob(image)));
  const depth = makeDepthPictures(source, scene, pictures, signal);
  const viewer = await makeViewer(source, scene, pictures, signal);
  if (signal.aborted) return;
  byId("result-title", HTMLElement).textContent = title;
  const tabs = makeTabs(viewer, depth, signal);
  showStrip(source, scene, (index) => {
    if (tabs.shown() === "depth") depth.show(index).catch(sayError);
    else viewer?.flyToView(index);
  });
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
  // A canvas whose drawing context was disposed of cannot have another.
  const canvas = element("canvas", { id: "stage-canvas", tabindex: 0, role: "application", "aria-label": "3D view; its keys are listed beside it" });
  byId("stage-canvas", HTMLCanvasElement).replaceWith(canvas);
  if (signal.aborted) return null;
  const context = canvas.getContext("webgl2", { antialias: true });
  if (!context) {
    sayError("This browser cannot draw in 3D (it has no WebGL 2), so only the depth pictures are shown.");
    return null;
  }
  const viewer = new Viewer(context, canvas, byId("measure-label", HTMLElement), views, scene.units, points);
  signal.addEventListener("abort", () => viewer.dispose());
  pictures.forEach(async (picture, index) => {
    viewer.frusta.setPicture(index, await createImageBitmap(picture, { resizeWidth: 256, resizeQuality: "medium" }));
    viewer.draw();
  });
  makeControls(viewer, source, scene, signal);
  return viewer;
}

/**
 * @param {Viewer} viewer
 * @param {Source} source
 * @param {SceneDescription} scene
 * @param {AbortSignal} signal
 */
function makeControls(viewer, source, scene, signal) {
  const listen = { signal };
  const hint = byId("hint", HTMLElement);
  viewer.onHint = (text) => (hint.textContent = text);
  hint.textContent = "";
  byId("controls", HTMLFormElement).reset();

  const sure = byId("sure", HTMLInputElement);
  byId("sure-part", HTMLElement).hidden = !scene.views[0].confidence;
  sure.valueAsNumber = viewer.cloud.percentBelow(scene.points?.confidence_threshold ?? 0);
  const hide = () => {
    const least = viewer.cloud.hideLeastSure(scene.views[0].confidence ? sure.valueAsNumber : 0);
    byId("sure-value", HTMLElement).textContent = least ? `${sure.value} % (confidence below ${significant(least)})` : "none";
    viewer.draw();
  };
  sure.addEventListener("input", hide, listen);
  hide();

  const size = byId("size", HTMLInputElement);
  const resize = () => {
    viewer.cloud.setSize(size.valueAsNumber);
    byId("size-value", HTMLElement).textContent = `× ${size.value}`;
    viewer.draw();
  };
  size.addEventListener("input", resize, listen);
  resize();

  const coloring = byId("coloring", HTMLSelectElement);
  coloring.addEventListener("change", () => {
    viewer.cloud.setColoring(/** @type {import("./points.js").Coloring} */ (coloring.value));
    viewer.draw();
  }, listen);

  const splats = source.job.files.find(({ name }) => name === "gaussians.splat"); // asked for, made of depth and colour
  const extra = { mesh: scene.mesh, gaussians: scene.gaussians ?? splats?.name ?? null };
  for (const name of /** @type {const} */ (["points", "cameras", "mesh", "gaussians"])) {
    const box = byId(`show-${name}`, HTMLInputElement);
    const file = name === "mesh" || name === "gaussians" ? extra[name] : undefined;
    box.closest("label")?.toggleAttribute("hidden", file === null);
    const toggle = async () => {
      viewer.canvas.setAttribute("aria-busy", "true");
      try {
        if (file && box.checked && !viewer.has(name)) {
          const bytes = await source.bytes(file);
          if (name === "mesh") viewer.addMesh(bytes);
          else viewer.addGaussians(bytes);
        }
        viewer.show(name, box.checked);
      } catch (error) {
        box.checked = false;
        sayError(error);
      }
      viewer.canvas.setAttribute("aria-busy", "false");
    };
    box.addEventListener("change", toggle, listen);
  }

  const walking = byId("walk", HTMLInputElement);
  const measuring = byId("measure", HTMLInputElement);
  const update = () => {
    viewer.navigation.mode = walking.checked ? "walk" : "orbit";
    viewer.isMeasuring = measuring.checked;
    byId("crosshair", HTMLElement).hidden = !measuring.checked;
    hint.textContent = measuring.checked ? "Click two points; or Enter marks the point under the cross." : "";
  };
  for (const box of [walking, byId("orbit", HTMLInputElement), measuring]) box.addEventListener("change", update, listen);
  update();
  byId("clear-marks", HTMLButtonElement).addEventListener("click", () => viewer.clearMarks(), listen);
  byId("see-all", HTMLButtonElement).addEventListener("click", () => viewer.overview(), listen);
  listenToKeys(viewer, { measure: () => measuring.click(), walk: () => (walking.checked ? byId("orbit", HTMLInputElement) : walking).click() }, signal);
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
 * @param {DepthPictures} depth
 * @param {AbortSignal} signal
 */
function makeTabs(viewer, depth, signal) {
  const tabs = { space: byId("tab-space", HTMLButtonElement), depth: byId("tab-depth", HTMLButtonElement) };
  /** @param {"space" | "depth"} name */
  const show = (name) => {
    for (const [other, tab] of Object.entries(tabs)) tab.setAttribute("aria-pressed", String(other === name));
    for (const part of document.querySelectorAll("[data-tab]")) part.toggleAttribute("hidden", part.getAttribute("data-tab") !== name);
    if (name === "depth") depth.show(depth.index).catch(sayError);
  };
  tabs.space.hidden = !viewer;
  tabs.space.addEventListener("click", () => show("space"), { signal });
  tabs.depth.addEventListener("click", () => show("depth"), { signal });
  show(viewer ? "space" : "depth");
  return { show, shown: () => (tabs.depth.getAttribute("aria-pressed") === "true" ? "depth" : "space") };
}

/**
 * @param {Source} source
 * @param {SceneDescription} scene
 * @param {(index: number) => void} onView
 */
function showStrip(source, scene, onView) {
  const buttons = scene.views.map(({ name, image }, index) => {
    const picture = element("img", { src: source.address(image), alt: "" });
    const title = `Look through the camera of ${name}`;
    return element("button", { type: "button", title, onclick: () => onView(index) }, picture, element("span", {}, name));
  });
  byId("strip", HTMLElement).replaceChildren(...buttons);
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
