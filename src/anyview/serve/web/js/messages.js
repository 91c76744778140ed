/** Messages to the user: one line at a time, read aloud by screen readers, to be closed. */

import { byId } from "./dom.js";

/** @param {string} text Nothing closes the message. */
export function say(text) {
  show(text, false);
}

/** @param {unknown} error */
export function sayError(error) {
  show(error instanceof Error ? error.message : String(error), true);
}

/**
 * Say an error unless the signal has come: then it is about something that is no longer shown.
 *
 * @param {AbortSignal} signal
 * @returns {(error: unknown) => void}
 */
export const sayErrorUnless = (signal) => (error) => {
  if (!signal.aborted) sayError(error);
};

/**
 * @param {string} text
 * @param {boolean} isError
 */
function show(text, isError) {
  const message = byId("message", HTMLElement);
  message.hidden = text === "";
  message.classList.toggle("error", isError);
  byId("message-text", HTMLElement).textContent = text;
}

/** Let the button close messages. */
export function startMessages() {
  byId("message-close", HTMLButtonElement).addEventListener("click", () => say(""));
}
