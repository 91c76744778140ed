/** Files to take away, and a link to hand on. */

import { post } from "./api.js";
import { byId, element } from "./dom.js";
import { say, sayError } from "./messages.js";
import { sizeText } from "./units.js";

/** @typedef {import("./api.js").JobFile} JobFile */
/** @typedef {import("./source.js").Source} Source */

/** Files that only the page wants. */
const INTERNAL = /^(view\/|thumb\.jpg$)/;

/**
 * @param {Source} source
 * @param {AbortSignal} signal
 */
export function showDownloads(source, signal) {
  const files = source.job.files.filter(({ name }) => !INTERNAL.test(name));
  const folders = new Set(files.map(({ name }) => folderOf(name)).filter((folder) => folder !== ""));
  const items = [
    ...files.filter(({ name }) => folderOf(name) === "").map((file) => fileItem(source, file)),
    ...[...folders].map((folder) => folderItem(source, folder, files.filter(({ name }) => folderOf(name) === folder))),
  ];
  byId("downloads", HTMLElement).replaceChildren(...items);
  byId("downloads-empty", HTMLElement).hidden = items.length > 0;
  const all = byId("download-all", HTMLAnchorElement);
  all.href = source.archive;
  all.download = "anyview.zip"; // the server knows better
  all.hidden = items.length === 0;
  showSharing(source, signal);
}

/**
 * The folder that a file is in, at the top; empty for a file that is in none.
 *
 * @param {string} name
 */
const folderOf = (name) => name.slice(0, name.indexOf("/") + 1);

/**
 * @param {Source} source
 * @param {JobFile} file
 */
function fileItem(source, { name, size }) {
  const inFolder = name.slice(folderOf(name).length);
  const link = element("a", { class: "button", href: source.address(name), download: name.split("/").at(-1) }, inFolder);
  return element("li", { class: "download" }, link, element("small", {}, sizeText(size)));
}

/**
 * @param {Source} source
 * @param {string} folder
 * @param {JobFile[]} files
 */
function folderItem(source, folder, files) {
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  const many = `${files.length} file${files.length > 1 ? "s" : ""}, ${sizeText(bytes)}`;
  const items = files.map((file) => fileItem(source, file));
  return element("li", {}, element("details", {}, element("summary", {}, `${folder} `, element("small", {}, many)), element("ul", {}, ...items)));
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
