/** A job's progress, as the server sends it. */

import { getJson } from "./api.js";

/** @typedef {import("./api.js").Job} Job */

const ENDED = new Set(["done", "failed", "cancelled"]);
const RETRY_MS = 1000;

/** @param {Job} job */
export const hasEnded = (job) => ENDED.has(job.state);

/**
 * Say every state of a job until it ends; a broken stream is taken up again.
 *
 * @param {string} id
 * @param {(job: Job) => void} onJob
 * @param {AbortSignal} signal
 * @returns {Promise<Job>} Its last state.
 */
export async function followJob(id, onJob, signal) {
  for (;;) {
    const job = /** @type {Job} */ (await getJson(`v1/jobs/${id}`)); // also lets the user log in, and knows missing jobs
    if (signal.aborted) throw signal.reason;
    onJob(job);
    if (hasEnded(job)) return job;
    const last = await readStream(id, onJob, signal);
    if (last) return last;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/**
 * @param {string} id
 * @param {(job: Job) => void} onJob
 * @param {AbortSignal} signal
 * @returns {Promise<Job | null>} The last state; null if the stream broke before.
 */
function readStream(id, onJob, signal) {
  const stream = new EventSource(`v1/jobs/${id}/events`);
  return new Promise((/** @type {(job: Job | null) => void} */ resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    stream.addEventListener("error", () => resolve(null));
    stream.addEventListener("job", ({ data }) => {
      const job = /** @type {Job} */ (JSON.parse(data));
      onJob(job);
      if (hasEnded(job)) resolve(job);
    });
  }).finally(() => stream.close());
}
