/** Logging in with the server's token. The server answers with a cookie; the page keeps nothing. */

import { access, ApiError, getJson, openSession, remove } from "./api.js";
import { byId } from "./dom.js";
import { sayError } from "./messages.js";

/** Let refused requests ask for a token in a dialog: one at a time, however many were refused. */
export async function startAccess() {
  const leave = byId("leave", HTMLButtonElement);
  leave.addEventListener("click", async () => {
    try {
      await remove("v1/session");
      location.reload();
    } catch (error) {
      sayError(error);
    }
  });
  /** @type {Promise<boolean> | null} */
  let asking = null;
  access.ask = () => (asking ??= logIn("This server wants an access token.").finally(() => (asking = null)));
  const session = await getJson("v1/session");
  leave.hidden = !(session.token_needed && session.owner);
}

/**
 * Ask until the server accepts a token or the user gives up.
 *
 * @param {string} reason
 * @returns {Promise<boolean>}
 */
async function logIn(reason) {
  const token = await askForToken(reason);
  if (!token) return false;
  try {
    await openSession(token);
  } catch (error) {
    if (error instanceof ApiError) return logIn(error.message);
    throw error;
  }
  byId("leave", HTMLButtonElement).hidden = false;
  return true;
}

/**
 * @param {string} reason
 * @returns {Promise<string>} Empty if the user gave up.
 */
function askForToken(reason) {
  const dialog = byId("access", HTMLDialogElement);
  const field = byId("token", HTMLInputElement);
  byId("access-reason", HTMLElement).textContent = reason;
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const onClose = () => resolve(dialog.returnValue === "use" ? field.value.trim() : "");
    dialog.addEventListener("close", onClose, { once: true });
  });
}
