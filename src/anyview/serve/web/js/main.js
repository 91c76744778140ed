/** The page's start, and which part of it an address shows: `#/`, `#/jobs/ID`, `#/shared/TOKEN`. */

import { startAccess } from "./access.js";
import { getJson } from "./api.js";
import { startComposing } from "./compose.js";
import { byId } from "./dom.js";
import { Gallery } from "./gallery.js";
import { say, sayError, startMessages } from "./messages.js";
import { showResult } from "./result.js";
import { Source } from "./source.js";
import { waitForJob } from "./waiting.js";

const gallery = new Gallery();
let leaving = new AbortController();
/** @type {Promise<void> | null} */
let composing = null;

/** @param {"home" | "waiting" | "result"} name */
function showPart(name) {
  for (const part of ["home", "waiting", "result"]) byId(part, HTMLElement).hidden = part !== name;
  byId(name, HTMLElement).querySelector("h2")?.focus({ preventScroll: true });
}

/** Show what the address says. */
async function route() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  gallery.close();
  const [, kind, id] = location.hash.match(/^#\/(jobs|shared)\/([\w-]+)$/) ?? [];
  try {
    if (kind === "jobs") await openJob(id, signal);
    else if (kind === "shared") await openShared(id, signal);
    else await openHome();
  } catch (error) {
    if (!signal.aborted) sayError(error);
  }
}

async function openHome() {
  showPart("home");
  composing ??= startComposing((id) => (location.hash = `#/jobs/${id}`));
  composing.catch(() => (composing = null));
  await Promise.all([composing, gallery.open()]);
}

/**
 * @param {string} id
 * @param {AbortSignal} signal
 */
async function openJob(id, signal) {
  showPart("waiting");
  const job = await waitForJob(id, signal);
  if (job.state !== "done" || signal.aborted) return;
  showPart("result");
  await showResult(new Source(`v1/jobs/${id}`, job, true), signal);
}

/**
 * @param {string} token
 * @param {AbortSignal} signal
 */
async function openShared(token, signal) {
  const base = `v1/shared/${token}`;
  const job = await getJson(base);
  signal.throwIfAborted();
  showPart("result");
  await showResult(new Source(base, job, false), signal);
}

startMessages();
addEventListener("hashchange", () => {
  say("");
  route();
});
startAccess().catch(sayError);
route();
