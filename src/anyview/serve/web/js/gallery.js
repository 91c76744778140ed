/** Past and running jobs, newest first. */

import { getJson, removeJob } from "./api.js";
import { byId, element } from "./dom.js";
import { hasEnded } from "./events.js";
import { sayError } from "./messages.js";
import { dateText } from "./units.js";

/** @typedef {import("./api.js").Job} Job */

const THUMBNAIL = "thumb.jpg";
const REFRESH_MS = 3000;

export class Gallery {
  #list = byId("gallery", HTMLElement);
  #timer = 0;

  /** Show the jobs, and keep them up to date while one of them is in work. */
  async open() {
    this.close();
    try {
      const jobs = /** @type {Job[]} */ ((await getJson("v1/jobs")).jobs);
      this.#list.replaceChildren(...jobs.map((job) => this.#card(job)));
      byId("gallery-empty", HTMLElement).hidden = jobs.length > 0;
      if (!jobs.every(hasEnded)) this.#timer = setTimeout(() => this.open(), REFRESH_MS);
    } catch (error) {
      sayError(error);
    }
  }

  close() {
    clearTimeout(this.#timer);
  }

  /** @param {Job} job */
  #card(job) {
    const state = { queued: "waiting", running: `${Math.round(100 * job.progress)} %`, done: "", failed: "failed", cancelled: "cancelled" }[job.state];
    const picture = element("div", { class: "thumbnail" }, state);
    const views = job.views ? `${job.views} view${job.views > 1 ? "s" : ""}, ` : "";
    const link = element("a", { href: `#/jobs/${job.id}` }, picture, element("span", {}, `${job.example ? `${job.example}, ` : ""}${views}${job.model}`), element("small", {}, dateText(job.created)));
    if (job.files.some(({ name }) => name === THUMBNAIL)) {
      picture.append(element("img", { src: `v1/jobs/${job.id}/files/${THUMBNAIL}`, alt: "", loading: "lazy" }));
    }
    const remove = async () => {
      try {
        await removeJob(job.id);
        await this.open();
      } catch (error) {
        sayError(error);
      }
    };
    const button = element("button", { type: "button", class: "quiet", "aria-label": `Delete the result of ${dateText(job.created)}`, onclick: remove }, "✕");
    return element("li", {}, link, ...(hasEnded(job) ? [button] : []));
  }
}
