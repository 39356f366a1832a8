// A second picture, whose style the answer gets: chosen or dropped, and taken away again.

import { readPicture } from "./pictures.js";

const LONGEST = 320; // of its look, in pixels

export class Reference {
  #place;
  #changed;
  #file = null;

  /** `place` holds a canvas, and a button that takes the picture away; `changed` hears of both. */
  constructor(place, changed) {
    this.#place = place;
    this.#changed = changed;
    place.querySelector("button").addEventListener("click", () => this.#show(null));
  }

  /** The file, where one was brought and the model takes one. */
  get file() {
    return this.#place.hidden ? null : this.#file;
  }

  set isTaken(taken) {
    this.#place.hidden = !taken;
  }

  async bring(file) {
    const bitmap = await readPicture(file);
    const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
    const canvas = this.#place.querySelector("canvas");
    canvas.width = Math.max(1, Math.round(scale * bitmap.width));
    canvas.height = Math.max(1, Math.round(scale * bitmap.height));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    this.#show(file);
  }

  #show(file) {
    this.#file = file;
    this.#place.querySelector("canvas").hidden = !file;
    this.#place.querySelector("button").hidden = !file;
    this.#changed();
  }
}
