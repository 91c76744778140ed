/** Choosing files: by drop anywhere on the page, by picker, and out again. */

import { element } from "./dom.js";
import { sizeText } from "./units.js";

export class FileChooser {
  /** @type {File[]} */
  files = [];

  /**
   * @param {{ zone: HTMLElement, picker: HTMLInputElement, list: HTMLElement }} parts
   * @param {(files: File[]) => void} onChange
   */
  constructor({ zone, picker, list }, onChange) {
    this.list = list;
    this.zone = zone;
    this.onChange = onChange;
    const take = () => {
      this.#add([...(picker.files ?? [])]);
      picker.value = ""; // so that the same file can be chosen again
    };
    picker.addEventListener("change", take);
    take(); // what was chosen before the page was ready
    for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => this.#over(/** @type {DragEvent} */ (event)));
    document.addEventListener("dragleave", (event) => !event.relatedTarget && this.#light(false));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      this.#light(false);
      if (this.#isShown()) this.#add([...(event.dataTransfer?.files ?? [])]);
    });
  }

  #isShown() {
    return this.zone.closest("[hidden]") === null;
  }

  /** @param {boolean} on */
  #light(on) {
    this.zone.classList.toggle("over", on);
  }

  /** @param {DragEvent} event */
  #over(event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = this.#isShown() ? "copy" : "none";
    this.#light(this.#isShown());
  }

  /** @param {File[]} files */
  #add(files) {
    this.files = [...this.files, ...files];
    this.#update();
  }

  clear() {
    this.files = [];
    this.#update();
  }

  #update() {
    for (const image of this.list.querySelectorAll("img")) URL.revokeObjectURL(image.src);
    this.list.replaceChildren(...this.files.map((file) => this.#item(file)));
    this.onChange(this.files);
  }

  /** @param {File} file */
  #item(file) {
    const remove = () => {
      this.files = this.files.filter((other) => other !== file);
      this.#update();
    };
    const item = element("li", {}, element("span", {}, `${file.name} (${sizeText(file.size)})`));
    item.append(element("button", { type: "button", class: "quiet", "aria-label": `Remove ${file.name}`, onclick: remove }, "✕"));
    if (file.type.startsWith("image/")) {
      const picture = element("img", { src: URL.createObjectURL(file), alt: "" });
      picture.addEventListener("error", () => picture.remove()); // HEIC, or broken: the server will say
      item.prepend(picture);
    }
    return item;
  }
}
