/** The server's REST interface: every request of the page goes through here. */

/**
 * @typedef {object} JobFile
 * @property {string} name
 * @property {number} size
 * @property {string} media_type
 *
 * @typedef {object} Job
 * @property {string} id
 * @property {"queued" | "running" | "done" | "failed" | "cancelled"} state
 * @property {string} stage
 * @property {number} progress 0 to 1.
 * @property {number | null} position In the queue, from 1 on.
 * @property {string | null} error
 * @property {string} model
 * @property {string | null} example
 * @property {string[]} inputs Names of the uploaded files.
 * @property {number | null} views
 * @property {JobFile[]} files Of a single job; lists do without.
 * @property {boolean} thumbnail Whether there is one among the files.
 * @property {number} created Seconds since 1970.
 * @property {number | null} expires
 */

/** What the server refused, in a sentence for people. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status
   */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Says that a program or our page asks, not a form on somebody else's. */
const HEADERS = { "X-Anyview": "1" };

/** Asks the user for a token and logs in; set by the page at its start. @type {{ ask: () => Promise<boolean> }} */
export const access = { ask: async () => false };

/**
 * Send a request.
 *
 * @param {string} path Below the page's own address.
 * @param {RequestInit} [init]
 * @returns {Promise<Response>} One with a status of success.
 */
async function sendOnce(path, init = {}) {
  let response;
  try {
    response = await fetch(path, { ...init, headers: { ...HEADERS, ...init.headers } });
  } catch {
    throw new ApiError("The server does not answer. Is it still running?", 0);
  }
  if (!response.ok) throw refusal(response.status, await response.text(), response.headers.get("Retry-After"));
  return response;
}

/**
 * Send a request; on 401 let the user log in and try again.
 *
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<Response>}
 */
async function send(path, init) {
  for (;;) {
    try {
      return await sendOnce(path, init);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 401 && (await access.ask()))) throw error;
    }
  }
}

/**
 * @param {unknown} [body]
 * @returns {RequestInit}
 */
function posting(body) {
  if (body === undefined) return { method: "POST" };
  return { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
}

/** @param {string} token Becomes a cookie. */
export const openSession = (token) => sendOnce("v1/session", posting({ token }));

/**
 * @param {number} status
 * @param {string} body
 * @param {string | null} retryAfter
 */
function refusal(status, body, retryAfter) {
  let message = `The server answered with status ${status}.`;
  try {
    message = JSON.parse(body).error ?? message;
  } catch {
    // Not JSON: a proxy in between; the status says enough.
  }
  return new ApiError(retryAfter ? `${message} Try again in ${retryAfter} s.` : message, status);
}

/** @param {string} path */
export const getJson = async (path) => (await send(path)).json();

/** @param {string} path */
export const getBytes = async (path) => (await send(path)).arrayBuffer();

/** @param {string} path */
export const getBlob = async (path) => (await send(path)).blob();

/**
 * @param {string} path
 * @param {unknown} [body] Sent as JSON.
 */
export const post = async (path, body) => (await send(path, posting(body))).json();

/** @param {string} id */
export const removeJob = (id) => remove(`v1/jobs/${id}`);

/** @param {string} path */
export const remove = (path) => send(path, { method: "DELETE" });

/**
 * Upload files with options. `fetch` cannot tell how much was sent, so this is an XMLHttpRequest.
 *
 * @param {File[]} files
 * @param {object} options
 * @param {(share: number) => void} onProgress
 * @param {AbortSignal} signal
 * @returns {Promise<Job>}
 */
export async function uploadJob(files, options, onProgress, signal) {
  for (;;) {
    const request = await uploadOnce(files, options, onProgress, signal);
    if (request.status >= 200 && request.status < 300) return JSON.parse(request.responseText);
    if (request.status !== 401 || !(await access.ask())) throw refusal(request.status, request.responseText, request.getResponseHeader("Retry-After"));
  }
}

/**
 * @param {File[]} files
 * @param {object} options
 * @param {(share: number) => void} onProgress
 * @param {AbortSignal} signal
 * @returns {Promise<XMLHttpRequest>}
 */
function uploadOnce(files, options, onProgress, signal) {
  const form = new FormData();
  form.append("options", JSON.stringify(options));
  for (const file of files) form.append("files", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "v1/jobs");
    for (const [name, value] of Object.entries(HEADERS)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => onProgress(event.total ? event.loaded / event.total : 0));
    request.addEventListener("load", () => resolve(request));
    request.addEventListener("error", () => reject(new ApiError("The upload broke off: the server closed the connection.", 0)));
    request.addEventListener("abort", () => reject(new DOMException("The upload was cancelled.", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
