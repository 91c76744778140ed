/** The form of a new job: files, model, options, formats, and sending them. */

import { getJson, post, uploadJob } from "./api.js";
import { byId, element } from "./dom.js";
import { say, sayError } from "./messages.js";
import { makeForm } from "./options.js";
import { FileChooser } from "./upload.js";

/**
 * @typedef {object} Model
 * @property {string} name
 * @property {string} licence
 * @property {string} [description]
 * @property {boolean} [available] Whether its weights are on the server.
 */

const USUAL_FORMATS = ["glb", "ply", "depth_vis", "npz"];

/**
 * Make the form work.
 *
 * @param {(id: string) => void} onJob A job was made.
 */
export async function startComposing(onJob) {
  const send = byId("send", HTMLButtonElement);
  const uploading = byId("uploading", HTMLElement);
  const bar = byId("upload-bar", HTMLProgressElement);
  let broken = new AbortController();
  const chooser = new FileChooser(
    { zone: byId("drop", HTMLElement), picker: byId("picker", HTMLInputElement), list: byId("files", HTMLElement) },
    () => {
      send.disabled = chooser.files.length === 0;
      const count = chooser.files.length;
      send.textContent = count ? `Reconstruct from ${count} file${count > 1 ? "s" : ""}` : "Reconstruct";
    },
  );
  const [models, options, formats, examples] = await Promise.all(["models", "options", "formats", "examples"].map((name) => getJson(`v1/${name}`)));
  showModels(models);
  const forms = { predict: makeForm(options.predict), export: makeForm(options.export) };
  byId("predict-options", HTMLElement).replaceChildren(...forms.predict.rows);
  byId("export-options", HTMLElement).replaceChildren(...forms.export.rows);
  showFormats(formats);
  showExamples(examples, onJob);

  byId("cancel-upload", HTMLButtonElement).addEventListener("click", () => broken.abort());
  byId("compose", HTMLFormElement).addEventListener("submit", async (event) => {
    event.preventDefault();
    broken = new AbortController();
    uploading.hidden = false;
    send.disabled = true;
    const wanted = {
      model: byId("model", HTMLSelectElement).value,
      predict: forms.predict.values(),
      export: forms.export.values(),
      formats: [...document.querySelectorAll("#formats input:checked")].map((box) => /** @type {HTMLInputElement} */ (box).value),
    };
    try {
      const { id } = await uploadJob(chooser.files, wanted, (share) => (bar.value = share), broken.signal);
      chooser.clear();
      onJob(id);
    } catch (error) {
      if (broken.signal.aborted) say("The upload was cancelled.");
      else sayError(error);
    }
    uploading.hidden = true;
    send.disabled = chooser.files.length === 0;
  });
}

/** @param {Model[]} models */
function showModels(models) {
  const select = byId("model", HTMLSelectElement);
  const label = (/** @type {Model} */ { name, available }) => (available === false ? `${name} (not on this server)` : name);
  select.replaceChildren(...models.map((model) => element("option", { value: model.name, disabled: model.available === false }, label(model))));
  const first = models.find(({ available }) => available !== false);
  if (first) select.value = first.name;
  const describe = () => {
    const model = models.find(({ name }) => name === select.value);
    byId("licence", HTMLElement).textContent = model ? [`Licence of the weights: ${model.licence}.`, model.description ?? ""].join(" ").trim() : "";
  };
  select.addEventListener("change", describe);
  describe();
}

/** @param {{ name: string, description?: string }[]} formats */
function showFormats(formats) {
  const boxes = formats.map(({ name, description }) => {
    const box = element("input", { type: "checkbox", value: name, checked: USUAL_FORMATS.includes(name) });
    return element("label", { title: description }, box, element("span", {}, name));
  });
  byId("formats", HTMLElement).replaceChildren(...boxes);
}

/**
 * @param {{ name: string, description?: string }[]} examples
 * @param {(id: string) => void} onJob
 */
function showExamples(examples, onJob) {
  const buttons = examples.map(({ name, description }) => {
    const start = async () => {
      try {
        onJob((await post(`v1/examples/${encodeURIComponent(name)}`)).id);
      } catch (error) {
        sayError(error);
      }
    };
    return element("button", { type: "button", title: description, onclick: start }, name.replaceAll("_", " "));
  });
  byId("examples", HTMLElement).replaceChildren(...buttons);
  byId("examples-part", HTMLElement).hidden = buttons.length === 0;
}
