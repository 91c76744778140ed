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
  /** By the job's id; what is on the page stays there, so that focus and scrolling do. @type {Map<string, Card>} */
  #cards = new Map();
  #timer = 0;
  /** Changed whenever the gallery is opened or closed: what was asked for before comes too late. */
  #visit = 0;

  /** Show the jobs, and keep them up to date while one of them is in work. */
  async open() {
    this.close();
    const visit = this.#visit;
    try {
      const jobs = /** @type {Job[]} */ ((await getJson("v1/jobs")).jobs);
      if (visit !== this.#visit) return;
      this.#update(jobs);
      if (!jobs.every(hasEnded)) this.#timer = setTimeout(() => this.open(), REFRESH_MS);
    } catch (error) {
      if (visit === this.#visit) sayError(error);
    }
  }

  close() {
    clearTimeout(this.#timer);
    this.#visit += 1;
  }

  /** @param {Job[]} jobs */
  #update(jobs) {
    const there = new Set(jobs.map(({ id }) => id));
    for (const [id, card] of this.#cards) if (!there.has(id)) this.#take(id, card);
    let place = this.#list.firstElementChild;
    for (const job of jobs) {
      const card = this.#cards.get(job.id) ?? new Card(job, () => this.#remove(job));
      this.#cards.set(job.id, card);
      card.update(job);
      // Jobs keep their order, so cards never have to move, which would take the focus from them.
      if (card.item === place) place = place.nextElementSibling;
      else this.#list.insertBefore(card.item, place);
    }
    byId("gallery-empty", HTMLElement).hidden = jobs.length > 0;
  }

  /**
   * Take a card away; the focus, if it was there, goes to its neighbour.
   *
   * @param {string} id
   * @param {Card} card
   */
  #take(id, card) {
    if (card.item.contains(document.activeElement)) {
      const next = card.item.nextElementSibling ?? card.item.previousElementSibling;
      (next?.querySelector("a") ?? byId("gallery-title", HTMLElement)).focus();
    }
    card.item.remove();
    this.#cards.delete(id);
  }

  /** @param {Job} job */
  async #remove(job) {
    if (!confirm(`Delete the result of ${dateText(job.created)} and its files from the server?`)) return;
    try {
      await removeJob(job.id);
      await this.open();
    } catch (error) {
      sayError(error);
    }
  }
}

class Card {
  #picture = element("div", { class: "thumbnail" });
  #title = element("span");
  #remove;
  #shown = "";

  /**
   * @param {Job} job
   * @param {() => void} onRemove
   */
  constructor(job, onRemove) {
    const date = dateText(job.created);
    const link = element("a", { href: `#/jobs/${job.id}` }, this.#picture, this.#title, element("small", {}, date));
    this.#remove = element("button", { type: "button", class: "quiet", "aria-label": `Delete the result of ${date}`, onclick: onRemove }, "✕");
    this.item = element("li", {}, link, this.#remove);
  }

  /** @param {Job} job Whose state may have changed. */
  update(job) {
    const percent = `${Math.round(100 * job.progress)} %`;
    const state = { queued: "waiting", running: percent, done: "", failed: "failed", cancelled: "cancelled" }[job.state];
    const views = job.views ? `${job.views} view${job.views > 1 ? "s" : ""}, ` : "";
    this.#title.textContent = `${job.example ? `${job.example}, ` : ""}${views}${job.model}`;
    this.#remove.hidden = !hasEnded(job);
    const shown = job.thumbnail ? `v1/jobs/${job.id}/files/${THUMBNAIL}` : state;
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#picture.replaceChildren(job.thumbnail ? element("img", { src: shown, alt: "", loading: "lazy" }) : state);
  }
}
