/** Files to take away, and a link to hand on. */

import { post } from "./api.js";
import { byId, element } from "./dom.js";
import { say, sayError } from "./messages.js";
import { sizeText } from "./units.js";

/** @typedef {import("./source.js").Source} Source */

/** Files that only the page wants. */
const INTERNAL = /^view\//;

/**
 * @param {Source} source
 * @param {AbortSignal} signal
 */
export function showDownloads(source, signal) {
  const files = source.job.files.filter(({ name }) => !INTERNAL.test(name));
  const items = files.map(({ name, size }) => {
    const button = element("button", { type: "button", onclick: () => save(() => source.blob(name), name, button) }, name);
    return element("li", {}, button, element("small", {}, sizeText(size)));
  });
  byId("downloads", HTMLElement).replaceChildren(...items);
  const all = byId("download-all", HTMLButtonElement);
  all.addEventListener("click", () => save(() => source.archive(), `anyview-${source.job.id}.zip`, all), { signal });
  showSharing(source, signal);
}

/**
 * Fetch a file and hand it to the browser's downloads. A plain link could not send the token.
 *
 * @param {() => Promise<Blob>} load
 * @param {string} name
 * @param {HTMLButtonElement} button
 */
async function save(load, name, button) {
  button.disabled = true;
  try {
    const address = URL.createObjectURL(await load());
    element("a", { href: address, download: name.split("/").at(-1) }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (error) {
    sayError(error);
  }
  button.disabled = false;
}

/**
 * @param {Source} source
 * @param {AbortSignal} signal
 */
function showSharing(source, signal) {
  const share = byId("share", HTMLButtonElement);
  const link = byId("share-link", HTMLInputElement);
  share.hidden = !source.isOurs;
  link.hidden = true;
  const start = async () => {
    try {
      const { token } = await post(`${source.base}/share`);
      link.value = new URL(`#/shared/${token}`, location.href).href;
      link.hidden = false;
      link.select();
      if (!navigator.clipboard) return; // insecure origin: the link is selected, to be copied by hand
      await navigator.clipboard.writeText(link.value);
      say("The link is copied. Whoever has it can see this result on this server.");
    } catch (error) {
      if (link.hidden) sayError(error);
    }
  };
  share.addEventListener("click", start, { signal });
}
