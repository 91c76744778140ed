/** Depth pictures: every pixel's value can be read, and two of them measured. */

import { mapColor, quantiles, shareOf } from "./colors.js";
import { distance, unproject } from "./scene.js";
import { lengthText, rangeText, significant } from "./units.js";

/** @typedef {import("./scene.js").SceneDescription} SceneDescription */
/** @typedef {"picture" | "depth" | "confidence"} Shown */
/** @typedef {{ picture: ImageBitmap, depth: Float32Array, confidence: Float32Array | null }} Maps */

const MARK_COLOR = "#c2126d";
/** Least width of the canvas, in its pixels. */
const FINE = 800;
/** Grey of pixels without a value. */
const NO_VALUE = [128, 128, 128];

/** @param {HTMLCanvasElement} canvas */
function contextOf(canvas) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("this browser draws no canvas");
  return context;
}

export class DepthPictures {
  /** @type {Shown} */
  shown = "depth";
  index = 0;
  /** Column and row under the pointer. @type {[number, number] | null} */
  cursor = null;
  /** @type {[number, number][]} At most two. */
  marks = [];
  #wanted = 0;
  /** @type {Maps | null} */
  #maps = null;
  /** Without marks. */
  #painted = document.createElement("canvas");

  /**
   * @param {{ canvas: HTMLCanvasElement, scale: HTMLCanvasElement, legend: HTMLElement, readout: HTMLElement, distance: HTMLElement }} parts
   * @param {SceneDescription} description
   * @param {(index: number) => Promise<Maps>} load Fetches a view's maps.
   * @param {AbortSignal} signal
   */
  constructor(parts, description, load, signal) {
    this.parts = parts;
    this.description = description;
    this.load = load;
    const { canvas } = parts;
    canvas.addEventListener("pointermove", (event) => this.#point(this.#pixelAt(event)), { signal });
    canvas.addEventListener("pointerdown", (event) => this.#point(this.#pixelAt(event)), { signal });
    canvas.addEventListener("click", () => this.mark(), { signal });
    canvas.addEventListener("keydown", (event) => this.#onKey(event), { signal });
    signal.addEventListener("abort", () => {
      this.#wanted = -1;
      this.#maps?.picture.close();
      this.#maps = null;
    });
  }

  get view() {
    return this.description.views[this.index];
  }

  /** Side of a pixel on the canvas: small pictures are shown large, and their marks should not be coarse. */
  get #grain() {
    return Math.max(Math.ceil(FINE / this.view.width), 1);
  }

  /** @param {number} index */
  async show(index) {
    this.#wanted = index;
    this.parts.canvas.setAttribute("aria-busy", "true");
    const maps = await this.load(index).finally(() => this.parts.canvas.setAttribute("aria-busy", "false"));
    if (this.#wanted !== index) return maps.picture.close(); // another view was asked for meanwhile, or none
    this.index = index;
    this.#maps?.picture.close();
    this.#maps = maps;
    this.marks = [];
    this.cursor = null;
    this.#painted.width = this.view.width;
    this.#painted.height = this.view.height;
    this.parts.canvas.width = this.view.width * this.#grain;
    this.parts.canvas.height = this.view.height * this.#grain;
    this.parts.canvas.setAttribute("aria-label", `${this.view.name}: arrows move the pointer, Enter marks a pixel`);
    this.paint();
  }

  /** Paint the maps anew. */
  paint() {
    if (!this.#maps) return;
    const { picture, depth, confidence } = this.#maps;
    const { width, height } = this.view;
    const context = contextOf(this.#painted);
    const values = { picture: null, depth, confidence }[this.shown];
    this.parts.scale.hidden = !values;
    if (values) this.#paintValues(context, values);
    else context.drawImage(picture, 0, 0, width, height);
    if (!values) this.parts.legend.textContent = "";
    this.#drawMarks();
    this.#read();
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Float32Array} values
   */
  #paintValues(context, values) {
    const [low, high] = quantiles(values.filter((value) => value > 0), [0.01, 0.99]);
    const isDepth = this.shown === "depth";
    const color = (/** @type {number} */ share) => mapColor(isDepth ? 1 - share : share);
    const pixels = context.createImageData(this.view.width, this.view.height);
    values.forEach((value, pixel) => {
      pixels.data.set([...(value > 0 ? color(shareOf(value, [low, high])) : NO_VALUE), 255], 4 * pixel);
    });
    context.putImageData(pixels, 0, 0);
    const scale = contextOf(this.parts.scale);
    const { width } = this.parts.scale;
    for (let x = 0; x < width; x += 1) {
      scale.fillStyle = `rgb(${color(x / (width - 1)).join()})`;
      scale.fillRect(x, 0, 1, 1);
    }
    this.parts.legend.textContent = isDepth ? rangeText(low, high, this.description.units) : `${significant(low)} … ${significant(high)}`;
  }

  /**
   * @param {PointerEvent} event
   * @returns {[number, number]}
   */
  #pixelAt(event) {
    // The picture keeps its shape in the canvas's box (object-fit: contain).
    const { left, top, width, height } = this.parts.canvas.getBoundingClientRect();
    const scale = Math.min(width / this.view.width, height / this.view.height);
    const within = (/** @type {number} */ offset, /** @type {number} */ room, /** @type {number} */ count) =>
      Math.min(Math.max(Math.floor((offset - room / 2) / scale + count / 2), 0), count - 1);
    return [within(event.clientX - left, width, this.view.width), within(event.clientY - top, height, this.view.height)];
  }

  /** @param {[number, number]} pixel */
  #point(pixel) {
    this.cursor = pixel;
    this.#drawMarks();
    this.#read();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const step = event.shiftKey ? 10 : 1;
    /** @type {Record<string, [number, number]>} */
    const arrows = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const { width, height } = this.view;
    if (event.key in arrows) {
      const [right, down] = arrows[event.key];
      const [x, y] = this.cursor ?? [width >> 1, height >> 1];
      this.#point([Math.min(Math.max(x + right, 0), width - 1), Math.min(Math.max(y + down, 0), height - 1)]);
    } else if (event.key === "Enter") this.mark();
    else if (event.key === "Escape") this.clearMarks();
    else return;
    event.preventDefault();
  }

  /** @param {[number, number]} pixel */
  #depthAt([x, y]) {
    return this.#maps?.depth[y * this.view.width + x] ?? NaN;
  }

  /** Say what is under the pointer. */
  #read() {
    if (!this.cursor || !this.#maps) {
      const measuring = this.view.intrinsics ? "; click two to measure" : "";
      this.parts.readout.textContent = `Point at a pixel to read its depth${measuring}.`;
      return;
    }
    const [x, y] = this.cursor;
    const depth = this.#depthAt(this.cursor);
    const confidence = this.#maps.confidence?.[y * this.view.width + x];
    const parts = [`x ${x}, y ${y}`, depth > 0 ? `depth ${lengthText(depth, this.description.units)}` : "no depth"];
    if (confidence !== undefined) parts.push(`confidence ${significant(confidence)}`);
    this.parts.readout.textContent = parts.join(" · ");
  }

  /** Mark the pixel under the pointer as an end of the measured distance; a third starts anew. */
  mark() {
    if (!this.cursor || !(this.#depthAt(this.cursor) > 0)) return;
    this.marks = this.marks.length === 2 ? [this.cursor] : [...this.marks, this.cursor];
    this.#drawMarks();
  }

  clearMarks() {
    this.marks = [];
    this.#drawMarks();
  }

  #drawMarks() {
    const { canvas } = this.parts;
    const context = contextOf(canvas);
    const grain = this.#grain;
    context.imageSmoothingEnabled = false; // a pixel is what is read
    context.drawImage(this.#painted, 0, 0, canvas.width, canvas.height);
    const place = (/** @type {[number, number]} */ [x, y]) => /** @type {const} */ ([(x + 0.5) * grain, (y + 0.5) * grain]);
    const draw = (/** @type {string} */ color, /** @type {number} */ thick) => {
      context.lineWidth = (thick * canvas.width) / FINE;
      context.strokeStyle = color;
      context.beginPath();
      this.marks.forEach((mark, index) => (index ? context.lineTo(...place(mark)) : context.moveTo(...place(mark))));
      context.stroke();
      for (const mark of [...this.marks, ...(this.cursor ? [this.cursor] : [])]) {
        context.beginPath();
        context.arc(...place(mark), (9 * canvas.width) / FINE, 0, 2 * Math.PI);
        context.stroke();
      }
    };
    draw("#ffffff", 5); // seen on every colour
    draw(MARK_COLOR, 2.5);
    const { view } = this;
    if (!view.intrinsics) return;
    const { intrinsics } = view;
    const ends = this.marks.map((pixel) => unproject({ intrinsics }, pixel[0] + 0.5, pixel[1] + 0.5, this.#depthAt(pixel)));
    this.parts.distance.textContent = ends.length === 2 ? `Distance: ${lengthText(distance(ends[0], ends[1]), this.description.units)}` : "";
  }
}
