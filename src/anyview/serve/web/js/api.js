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
 * @property {number} views
 * @property {string[]} formats
 * @property {JobFile[]} files
 * @property {string | number} created
 * @property {string | number | null} expires
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

const TOKEN = "anyview-token";

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  /** @param {string} value */
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

/** Asks the user for a token; set by the page at its start. @type {{ ask: (reason: string) => Promise<string | null> }} */
export const access = { ask: async () => null };

/**
 * Send a request; on 401 ask for a token and try again.
 *
 * @param {string} path Below the page's own address.
 * @param {RequestInit} [init]
 * @returns {Promise<Response>} One with a status of success.
 */
export async function send(path, init = {}) {
  for (;;) {
    let response;
    try {
      response = await fetch(path, { ...init, headers: { ...authorization(), ...init.headers } });
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new ApiError("The server does not answer. Is it still running?", 0);
    }
    if (response.ok) return response;
    if (!(await mayRetry(response.status))) throw refusal(response.status, await response.text(), response.headers.get("Retry-After"));
  }
}

/** @returns {Record<string, string>} */
function authorization() {
  return token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
}

/** @param {number} status */
async function mayRetry(status) {
  if (status !== 401) return false;
  const given = await access.ask(token.get() ? "The server does not accept this token." : "This server wants an access token.");
  if (given) token.set(given);
  return Boolean(given);
}

/**
 * @param {number} status
 * @param {string} body
 * @param {string | null} retryAfter
 */
function refusal(status, body, retryAfter) {
  let message = `The server answered with status ${status}.`;
  try {
    const { detail } = JSON.parse(body);
    if (typeof detail === "string") message = detail;
    else if (Array.isArray(detail)) message = detail.map(({ loc, msg }) => `${loc?.at(-1) ?? "request"}: ${msg}`).join("; ");
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
export async function post(path, body) {
  const init = body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  return (await send(path, { method: "POST", ...init })).json();
}

/** @param {string} id */
export const removeJob = (id) => send(`v1/jobs/${id}`, { method: "DELETE" });

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
    if (!(await mayRetry(request.status))) throw refusal(request.status, request.responseText, request.getResponseHeader("Retry-After"));
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
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => onProgress(event.total ? event.loaded / event.total : 0));
    request.addEventListener("load", () => resolve(request));
    request.addEventListener("error", () => reject(new ApiError("The upload broke off: the server closed the connection.", 0)));
    request.addEventListener("abort", () => reject(new DOMException("The upload was cancelled.", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
