/** Where a result's files are: with its job, or behind a shared link. */

import { getBlob, getBytes, getJson } from "./api.js";

/** @typedef {import("./api.js").Job} Job */

export class Source {
  /**
   * @param {string} base Address of the job or the shared result.
   * @param {Job} job
   * @param {boolean} isOurs Whether it may be shared and deleted.
   */
  constructor(base, job, isOurs) {
    this.base = base;
    this.job = job;
    this.isOurs = isOurs;
  }

  /** @param {string} name */
  address(name) {
    return `${this.base}/files/${name.split("/").map(encodeURIComponent).join("/")}`;
  }

  /** @param {string} name @returns {Promise<any>} */
  json(name) {
    return getJson(this.address(name));
  }

  /** @param {string} name */
  bytes(name) {
    return getBytes(this.address(name));
  }

  /** @param {string} name */
  blob(name) {
    return getBlob(this.address(name));
  }

  /** Address of all files in one. */
  get archive() {
    return `${this.base}/archive.zip`;
  }
}
