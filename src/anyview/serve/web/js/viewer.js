/** The 3D view: a canvas, what is drawn on it, and the camera in it. Pictures are drawn when something has changed. */

import * as THREE from "../vendor/three.module.min.js";
import { PLYLoader } from "../vendor/PLYLoader.js";
import { OPENGL_FROM_OPENCV, applyLens, overviewPose, sceneFrame, viewPose } from "./framing.js";
import { Frusta, frustumSize } from "./frusta.js";
import { Measurement } from "./measure.js";
import { Navigation } from "./navigation.js";
import { PointCloud } from "./points.js";
import { Splats } from "./splats.js";

/** @typedef {import("./scene.js").PosedView} PosedView */
/** @typedef {"points" | "mesh" | "gaussians" | "cameras" | "measurement"} Layer */

const PICK_PIXELS = { mouse: 6, touch: 18 };

export class Viewer {
  isMeasuring = false;
  /** @type {(text: string) => void} */
  onHint = () => {};
  #isScheduled = false;
  /** Set once nothing may be drawn any more: what was asked for before may still arrive. */
  #isDisposed = false;
  #ending = new AbortController();
  /** @type {Map<Layer, { object: THREE.Object3D, dispose(): void }>} */
  #layers = new Map();

  /**
   * @param {WebGL2RenderingContext} context
   * @param {HTMLCanvasElement} canvas Of the context.
   * @param {HTMLElement} label Over the canvas; shows the measured distance.
   * @param {PosedView[]} views
   * @param {string} units
   * @param {import("./scene.js").Points} points
   */
  constructor(context, canvas, label, views, units, points) {
    this.canvas = canvas;
    this.views = views;
    this.renderer = new THREE.WebGLRenderer({ canvas, context });
    this.camera = new THREE.PerspectiveCamera();
    this.scene = new THREE.Scene();
    this.world = new THREE.Group();
    this.world.applyMatrix4(OPENGL_FROM_OPENCV);
    this.scene.add(this.world);
    this.navigation = new Navigation(this.camera, canvas, () => this.draw(), (event) => this.#click(event), this.#ending.signal);
    this.measurement = new Measurement(label, units);
    this.frame = sceneFrame(points, views);
    this.cloud = new PointCloud(points, views.map((view) => view.intrinsics[0][0]));
    this.frusta = new Frusta(views, frustumSize(views, this.frame.extent));
    this.#add("points", this.cloud);
    this.#add("cameras", this.frusta);
    this.#add("measurement", this.measurement);
    this.camera.near = 0.002 * this.frame.extent;
    this.camera.far = 50 * this.frame.extent;
    this.navigation.step = 0.02 * this.frame.extent;
    this.navigation.up.copy(this.frame.up);
    this.resizing = new ResizeObserver(() => this.#resize());
    this.resizing.observe(canvas);
    this.camera.aspect = canvas.clientWidth / canvas.clientHeight || 1;
    this.navigation.place(overviewPose(this.frame, this.views, this.camera.aspect));
    this.#resize();
  }

  /**
   * @param {Layer} name
   * @param {{ object: THREE.Object3D, dispose(): void }} layer
   */
  #add(name, layer) {
    if (this.#isDisposed) return layer.dispose();
    this.#layers.set(name, layer);
    this.world.add(layer.object);
    return this.draw();
  }

  /**
   * @param {Layer} name
   * @param {boolean} visible
   */
  show(name, visible) {
    const layer = this.#layers.get(name);
    if (layer) layer.object.visible = visible;
    this.draw();
  }

  /** @param {Layer} name */
  has(name) {
    return this.#layers.has(name);
  }

  /**
   * @param {number} index Of the view.
   * @param {ImageBitmap} image Closed here.
   */
  setPicture(index, image) {
    if (this.#isDisposed) return image.close();
    this.renderer.initTexture(this.frusta.setPicture(index, image));
    image.close();
    return this.draw();
  }

  /** @param {ArrayBuffer} buffer A PLY file with vertex colours. */
  addMesh(buffer) {
    if (this.#isDisposed) return;
    const geometry = new PLYLoader().parse(buffer);
    const material = new THREE.MeshBasicMaterial({ vertexColors: geometry.hasAttribute("color"), side: THREE.DoubleSide });
    this.#add("mesh", { object: new THREE.Mesh(geometry, material), dispose: () => [geometry, material].forEach((part) => part.dispose()) });
  }

  /** @param {ArrayBuffer} buffer A `.splat` file. */
  addGaussians(buffer) {
    if (this.#isDisposed) return;
    this.#add("gaussians", new Splats(buffer));
  }

  /** Draw with the next frame. */
  draw() {
    if (this.#isScheduled || this.#isDisposed) return;
    this.#isScheduled = true;
    requestAnimationFrame(() => {
      this.#isScheduled = false;
      this.#render();
    });
  }

  #render() {
    if (this.#isDisposed) return;
    applyLens(this.camera, this.navigation.lens);
    this.camera.updateMatrixWorld();
    const background = getComputedStyle(this.canvas).backgroundColor;
    this.scene.background = new THREE.Color().setStyle(background);
    this.frusta.hideFrom(this.world.worldToLocal(this.camera.position.clone()));
    this.renderer.render(this.scene, this.camera);
    this.measurement.placeLabel(this.#toClip(), this.canvas);
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.#render();
  }

  #toClip() {
    this.camera.updateMatrixWorld();
    return new THREE.Matrix4().multiplyMatrices(this.camera.projectionMatrix, this.camera.matrixWorldInverse).multiply(this.world.matrixWorld);
  }

  /** See all. */
  overview() {
    this.navigation.flyTo(overviewPose(this.frame, this.views, this.camera.aspect));
  }

  /**
   * Look through a view's camera: its whole picture fits into the canvas.
   *
   * @param {number} index
   */
  flyToView(index) {
    this.navigation.flyTo(viewPose(this.views[index], this.frame.depths[index], this.camera.aspect));
  }

  /** @param {PointerEvent} event */
  #click(event) {
    const box = this.canvas.getBoundingClientRect();
    const pointer = new THREE.Vector2(
      (2 * (event.clientX - box.left)) / box.width - 1,
      1 - (2 * (event.clientY - box.top)) / box.height,
    );
    if (this.isMeasuring) {
      this.mark(pointer, event.pointerType === "touch" ? PICK_PIXELS.touch : PICK_PIXELS.mouse);
      return;
    }
    const raycaster = new THREE.Raycaster();
    raycaster.setFromCamera(pointer, this.camera);
    const view = this.frusta.pick(raycaster);
    if (view >= 0) this.flyToView(view);
  }

  /**
   * Mark the surface under a place of the canvas as an end of the measured distance.
   *
   * @param {{ x: number, y: number }} [pointer] Normalised device coordinates; default: the middle.
   * @param {number} [pixels] Radius in which a point counts.
   */
  mark(pointer = { x: 0, y: 0 }, pixels = PICK_PIXELS.touch) {
    const size = this.renderer.getDrawingBufferSize(new THREE.Vector2());
    const pixel = { x: 2 / size.x, y: 2 / size.y };
    const radius = { x: (2 * pixels) / this.canvas.clientWidth, y: (2 * pixels) / this.canvas.clientHeight };
    const point = this.cloud.pick(this.#toClip(), pointer, radius, pixel);
    if (!point) return this.onHint("No point of the scene is there.");
    this.onHint(this.measurement.add(point));
    this.draw();
  }

  clearMarks() {
    this.measurement.clear();
    this.draw();
  }

  dispose() {
    this.#isDisposed = true;
    this.onHint = () => {};
    this.#ending.abort();
    this.resizing.disconnect();
    for (const layer of this.#layers.values()) layer.dispose();
    this.renderer.dispose();
    this.renderer.forceContextLoss(); // browsers have few contexts, and free those of lost canvases late
  }
}
