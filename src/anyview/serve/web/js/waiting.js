/** A job in work: its place in the queue, stage and progress, and a way to stop it. */

import { post } from "./api.js";
import { byId } from "./dom.js";
import { followJob } from "./events.js";
import { sayError } from "./messages.js";
import { capitalised } from "./units.js";

/** @typedef {import("./api.js").Job} Job */

/**
 * Show a job's progress until it ends.
 *
 * @param {string} id
 * @param {AbortSignal} signal Somebody went elsewhere.
 * @returns {Promise<Job>}
 */
export async function waitForJob(id, signal) {
  const stop = byId("cancel", HTMLButtonElement);
  const cancel = async () => {
    stop.disabled = true;
    try {
      await post(`v1/jobs/${id}/cancel`);
    } catch (error) {
      stop.disabled = false;
      sayError(error);
    }
  };
  stop.disabled = false;
  stop.addEventListener("click", cancel, { signal });
  return followJob(id, show, signal);
}

/** @param {Job} job */
function show(job) {
  const stages = {
    queued: job.position ? `Waiting as number ${job.position} in the queue` : "Waiting in the queue",
    running: capitalised(job.stage),
    done: "Done",
    failed: "Failed",
    cancelled: "Cancelled",
  };
  const isOpen = job.state === "queued" || job.state === "running";
  const files = `${job.inputs.length} file${job.inputs.length > 1 ? "s" : ""}`;
  byId("job-what", HTMLElement).textContent = `${job.example ? `Example ${job.example}` : files} with ${job.model}`;
  byId("stage", HTMLElement).textContent = stages[job.state];
  byId("percent", HTMLElement).textContent = isOpen ? `${Math.round(100 * job.progress)} %` : "";
  byId("job-bar", HTMLProgressElement).value = job.state === "done" ? 1 : job.progress;
  byId("job-bar", HTMLProgressElement).hidden = !isOpen;
  byId("cancel", HTMLButtonElement).hidden = !isOpen;
  byId("job-error", HTMLElement).textContent = job.error ?? "";
}
