/** What is beside the 3D view: which layers, how points look, how to move, measuring. */

import { byId } from "./dom.js";
import { listenToKeys } from "./keyboard.js";
import { sayErrorUnless } from "./messages.js";
import { significant } from "./units.js";

/** @typedef {import("./scene.js").SceneDescription} SceneDescription */
/** @typedef {import("./source.js").Source} Source */
/** @typedef {import("./viewer.js").Viewer} Viewer */

/**
 * @param {Viewer} viewer
 * @param {Source} source
 * @param {SceneDescription} scene
 * @param {AbortSignal} signal
 */
export function makeControls(viewer, source, scene, signal) {
  viewer.onHint = (text) => (byId("hint", HTMLElement).textContent = text);
  viewer.onHint("");
  byId("controls", HTMLFormElement).reset();
  makePointControls(viewer, scene, signal);
  makeLayerBoxes(viewer, source, scene, signal);
  makeModes(viewer, signal);
}

/**
 * @param {Viewer} viewer
 * @param {SceneDescription} scene
 * @param {AbortSignal} signal
 */
function makePointControls(viewer, scene, signal) {
  const listen = { signal };
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
  const color = () => {
    viewer.cloud.setColoring(/** @type {import("./points.js").Coloring} */ (coloring.value));
    viewer.draw();
  };
  coloring.addEventListener("change", color, listen);
}

/**
 * @param {Viewer} viewer
 * @param {Source} source
 * @param {SceneDescription} scene
 * @param {AbortSignal} signal
 */
function makeLayerBoxes(viewer, source, scene, signal) {
  const { gaussians, mesh } = scene;
  const files = { points: undefined, cameras: undefined, mesh, gaussians: gaussians && gaussians.file };
  const share = byId("gaussians-share", HTMLElement);
  share.textContent = gaussians && gaussians.count < gaussians.total ? shareText(gaussians) : "";
  share.hidden = true;
  let loading = 0;
  const isLoading = (/** @type {1 | -1} */ change) => {
    loading += change;
    viewer.canvas.setAttribute("aria-busy", String(loading > 0));
  };

  for (const name of /** @type {const} */ (["points", "cameras", "mesh", "gaussians"])) {
    const box = byId(`show-${name}`, HTMLInputElement);
    const file = files[name];
    box.closest("label")?.toggleAttribute("hidden", file === null);
    box.disabled = false;
    const load = async (/** @type {string} */ wanted) => {
      const hadFocus = document.activeElement === box;
      box.disabled = true;
      isLoading(1);
      viewer.onHint(name === "mesh" ? "Loading the mesh …" : "Loading the Gaussians …");
      try {
        const bytes = await source.bytes(wanted);
        if (name === "mesh") viewer.addMesh(bytes);
        else viewer.addGaussians(bytes);
        viewer.onHint(name === "mesh" ? "The mesh is shown." : "The Gaussians are shown.");
      } catch (error) {
        viewer.onHint("");
        if (!signal.aborted) box.checked = false;
        throw error;
      } finally {
        isLoading(-1);
        if (!signal.aborted) box.disabled = false; // otherwise it belongs to another result by now
        if (hadFocus && document.activeElement === document.body) box.focus(); // what is disabled loses it
      }
    };
    const show = async () => {
      if (file && !viewer.has(name)) await load(file);
      viewer.show(name, box.checked);
      if (name === "gaussians") share.hidden = !box.checked || share.textContent === "";
    };
    box.addEventListener("change", () => show().catch(sayErrorUnless(signal)), { signal });
  }
}

/** @param {{ count: number, total: number }} gaussians */
function shareText({ count, total }) {
  return `The largest and most opaque ${count.toLocaleString()} of ${total.toLocaleString()} Gaussians are shown.`;
}

/**
 * @param {Viewer} viewer
 * @param {AbortSignal} signal
 */
function makeModes(viewer, signal) {
  const listen = { signal };
  const walking = byId("walk", HTMLInputElement);
  const orbiting = byId("orbit", HTMLInputElement);
  const measuring = byId("measure", HTMLInputElement);
  const update = () => {
    viewer.navigation.mode = walking.checked ? "walk" : "orbit";
    viewer.isMeasuring = measuring.checked;
    byId("crosshair", HTMLElement).hidden = !measuring.checked;
    viewer.onHint(measuring.checked ? "Click two points; or Enter marks the point under the cross." : "");
  };
  for (const box of [walking, orbiting, measuring]) box.addEventListener("change", update, listen);
  update();
  byId("clear-marks", HTMLButtonElement).addEventListener("click", () => viewer.clearMarks(), listen);
  byId("see-all", HTMLButtonElement).addEventListener("click", () => viewer.overview(), listen);
  listenToKeys(viewer, { measure: () => measuring.click(), walk: () => (walking.checked ? orbiting : walking).click() }, signal);
}
