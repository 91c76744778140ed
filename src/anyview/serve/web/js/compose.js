/** The form of a new job: files, model, options, formats, and sending them. */

import { getJson, post, uploadJob } from "./api.js";
import { byId, element } from "./dom.js";
import { say, sayError } from "./messages.js";
import { makeForm } from "./options.js";
import { capitalised, sizeText } from "./units.js";
import { FileChooser } from "./upload.js";

/**
 * @typedef {object} Model
 * @property {string} name
 * @property {string | null} licence
 * @property {string} summary
 * @property {boolean} available Whether the server offers it.
 * @property {boolean} default
 *
 * @typedef {object} Format
 * @property {string} name
 * @property {string} description
 * @property {boolean} available
 */

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
  const names = ["models", "options", "formats", "examples"];
  const [{ models }, options, formats, { examples }] = await Promise.all(names.map((name) => getJson(`v1/${name}`)));
  showModels(models);
  showLimits(options.limits);
  const { properties } = options.json_schema;
  const { frames_per_second, max_frames } = properties;
  const forms = {
    predict: makeForm(properties.predict),
    export: makeForm(properties.export),
    video: makeForm({ properties: { frames_per_second, max_frames } }),
  };
  byId("predict-options", HTMLElement).replaceChildren(...forms.predict.rows);
  byId("export-options", HTMLElement).replaceChildren(...forms.export.rows);
  byId("video-options", HTMLElement).replaceChildren(...forms.video.rows);
  showFormats(formats);
  showExamples(examples, onJob);
  // Only now: had a request failed, this would run again, and the elements would belong to two choosers.
  const chooser = new FileChooser(
    { zone: byId("drop", HTMLElement), picker: byId("picker", HTMLInputElement), list: byId("files", HTMLElement) },
    ({ length }) => {
      send.disabled = length === 0;
      send.textContent = length ? `Reconstruct from ${length} file${length > 1 ? "s" : ""}` : "Reconstruct";
    },
  );

  byId("cancel-upload", HTMLButtonElement).addEventListener("click", () => broken.abort());
  byId("compose", HTMLFormElement).addEventListener("submit", async (event) => {
    event.preventDefault();
    const chosen = [...document.querySelectorAll("#compose .formats input:checked")];
    if (chosen.length === 0) return sayError("Choose at least one kind of file to make.");
    broken = new AbortController();
    uploading.hidden = false;
    send.disabled = true;
    const wanted = {
      model: byId("model", HTMLSelectElement).value,
      predict: forms.predict.values(),
      export: forms.export.values(),
      ...forms.video.values(),
      formats: chosen.map((box) => /** @type {HTMLInputElement} */ (box).value),
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
    return undefined;
  });
}

/** @param {{ views: number, upload_mib: number, video_s: number }} limits */
function showLimits({ views, upload_mib: mib, video_s: seconds }) {
  byId("limits", HTMLElement).textContent = `Up to ${views} pictures, ${sizeText(mib * 2 ** 20)}, videos of ${Math.round(seconds / 60)} min`;
}

/** @param {Model[]} models */
function showModels(models) {
  const select = byId("model", HTMLSelectElement);
  const offered = models.filter(({ available }) => available);
  const options = offered.map((model) => element("option", { value: model.name, selected: model.default }, model.name));
  select.replaceChildren(...options);
  const describe = () => {
    const model = offered.find(({ name }) => name === select.value);
    byId("licence", HTMLElement).textContent = model ? `${capitalised(model.summary)}. Licence: ${model.licence ?? "unknown"}.` : "";
  };
  select.addEventListener("change", describe);
  describe();
}

/** @param {{ formats: Format[], default: string[] }} answer */
function showFormats({ formats, default: usual }) {
  const rows = (/** @type {boolean} */ areUsual) =>
    formats.filter(({ name, available }) => available && usual.includes(name) === areUsual).map(({ name, description }) => {
      const box = element("input", { type: "checkbox", value: name, checked: areUsual });
      return element("label", {}, box, element("span", {}, name, " ", element("small", {}, description)));
    });
  byId("formats", HTMLElement).replaceChildren(...rows(true));
  byId("more-formats", HTMLElement).replaceChildren(...rows(false));
}

/**
 * @param {{ name: string, title: string }[]} examples
 * @param {(id: string) => void} onJob
 */
function showExamples(examples, onJob) {
  const buttons = examples.map(({ name, title }) => {
    const start = async () => {
      try {
        onJob((await post(`v1/examples/${encodeURIComponent(name)}`)).id);
      } catch (error) {
        sayError(error);
      }
    };
    return element("button", { type: "button", onclick: start }, title);
  });
  byId("examples", HTMLElement).replaceChildren(...buttons);
  byId("examples-part", HTMLElement).hidden = buttons.length === 0;
}
