/** A job's progress as the server sends it. `EventSource` cannot send a token, so the stream is read with `fetch`. */

import { getJson, send } from "./api.js";

/** @typedef {import("./api.js").Job} Job */

const ENDED = new Set(["done", "failed", "cancelled"]);

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
  let job = await getJson(`v1/jobs/${id}`);
  onJob(job);
  while (!hasEnded(job)) {
    const response = await send(`v1/jobs/${id}/events`, { signal, headers: { Accept: "text/event-stream" } });
    try {
      for await (const data of readEvents(response)) {
        job = JSON.parse(data);
        onJob(job);
        if (hasEnded(job)) return job;
      }
    } catch (error) {
      if (signal.aborted) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  return job;
}

/**
 * The data of each server-sent event.
 *
 * @param {Response} response
 * @returns {AsyncGenerator<string>}
 */
async function* readEvents(response) {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      buffer += value.replaceAll("\r", "");
      const blocks = buffer.split("\n\n");
      buffer = blocks.pop() ?? "";
      for (const block of blocks) {
        const data = block.split("\n").filter((line) => line.startsWith("data:"));
        if (data.length) yield data.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } finally {
    await reader.cancel().catch(() => {}); // the stream broke: nothing is left to cancel
  }
}
