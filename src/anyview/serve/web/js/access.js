/** Asking for the server's token; api.js keeps it in the session's storage. */

import { access, token } from "./api.js";
import { byId } from "./dom.js";

/** Let requests ask for a token in a dialog: one at a time, however many were refused. */
export function startAccess() {
  const dialog = byId("access", HTMLDialogElement);
  const field = byId("token", HTMLInputElement);
  const forget = byId("forget", HTMLButtonElement);
  /** @type {Promise<string | null> | null} */
  let asking = null;
  forget.hidden = !token.get();
  forget.addEventListener("click", () => {
    token.set("");
    location.reload();
  });
  access.ask = (reason) => {
    asking ??= new Promise((resolve) => {
      byId("access-reason", HTMLElement).textContent = reason;
      field.value = "";
      dialog.returnValue = "";
      dialog.showModal();
      dialog.addEventListener(
        "close",
        () => {
          asking = null;
          const given = dialog.returnValue === "use" ? field.value.trim() : "";
          forget.hidden = !given;
          resolve(given || null);
        },
        { once: true },
      );
    });
    return asking;
  };
}
