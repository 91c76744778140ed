/** Files to take away, and a link to hand on. */

import { post } from "./api.js";
import { byId, element } from "./dom.js";
import { say, sayError } from "./messages.js";
import { sizeText } from "./units.js";

/** @typedef {import("./source.js").Source} Source */

/** Files that only the page wants. */
const INTERNAL = /^(view\/|thumb\.jpg$)/;

/**
 * @param {Source} source
 * @param {AbortSignal} signal
 */
export function showDownloads(source, signal) {
  const files = source.job.files.filter(({ name }) => !INTERNAL.test(name));
  const items = files.map(({ name, size }) => {
    const link = element("a", { class: "button", href: source.address(name), download: name.split("/").at(-1) }, name);
    return element("li", {}, link, element("small", {}, sizeText(size)));
  });
  byId("downloads", HTMLElement).replaceChildren(...items);
  byId("downloads-empty", HTMLElement).hidden = items.length > 0;
  const all = byId("download-all", HTMLAnchorElement);
  all.href = source.archive;
  all.download = "anyview.zip"; // the server knows better
  all.hidden = items.length === 0;
  showSharing(source, signal);
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
