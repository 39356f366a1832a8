// The picture that a translation starts from: drawn by mouse, finger, pen or keys, or brought.

import { readPicture } from "./pictures.js";

const GROUND = "#ffffff";
const SIDE = 384; // of an empty drawing area, in its own pixels: a stroke is smooth on it
const LONGEST = 768; // of a picture that is brought, on the drawing area
const STEPS_BACK = 12;
const KEY_STEPS = 48; // arrow keys from one edge to the other
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * An empty drawing area: the height and width that the model is used to, and how many times as
 * large they are drawn on. Lines are then as thick to the model as those that it learnt from.
 */
export function areaFor(size) {
  const known = size.kind === "fixed" ? [[size.height, size.width]] : size.warm;
  const [height, width] = known.reduce((one, other) => (other[0] > one[0] ? other : one));
  return { height, width, times: Math.max(1, Math.round(SIDE / Math.max(height, width))) };
}

export class Sketch {
  #canvas;
  #cross;
  #context;
  #pen;
  #changed;
  #area = { height: SIDE, width: SIDE, times: 1 };
  #times = 1; // so many times as large as what is sent
  #file = null; // what was brought, as long as nothing is drawn on it
  #empty = true;
  #before = []; // what Undo goes back to
  #last = null; // where the pen is, while it is down
  #keys = null; // where the keyboard's pen is

  /** `pen` tells colour and width in thousandths of the side; `changed` hears of every stroke. */
  constructor(canvas, cross, pen, changed) {
    this.#canvas = canvas;
    this.#cross = cross;
    this.#context = canvas.getContext("2d", { willReadFrequently: true });
    this.#pen = pen;
    this.#changed = changed;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => { this.#last = null; });
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => this.#leaveKeys());
    this.#blank();
  }

  get isEmpty() {
    return this.#empty;
  }

  /** The size of an empty area; what is drawn already stays. */
  set area(area) {
    this.#area = area;
    if (this.#empty) this.#blank();
  }

  clear() {
    if (!this.#empty) this.#remember();
    this.#blank();
  }

  /** The file itself where nothing was drawn on it, else the drawing as PNG. */
  picture() {
    if (this.#file) return Promise.resolve(this.#file);
    const sent = document.createElement("canvas");
    sent.width = this.#canvas.width / this.#times;
    sent.height = this.#canvas.height / this.#times;
    const context = sent.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(this.#canvas, 0, 0, sent.width, sent.height);
    return new Promise((resolve) => { sent.toBlob(resolve, "image/png"); });
  }

  async bring(file) {
    const bitmap = await readPicture(file);
    this.#remember();
    const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
    const side = (length) => Math.max(1, Math.round(scale * length));
    this.#resize(side(bitmap.height), side(bitmap.width), 1);
    this.#context.drawImage(bitmap, 0, 0, this.#canvas.width, this.#canvas.height);
    bitmap.close();
    this.#file = file;
    this.#empty = false;
    this.#changed();
  }

  undo() {
    const state = this.#before.pop();
    if (!state) return;
    this.#resize(state.pixels.height, state.pixels.width, state.times);
    this.#context.putImageData(state.pixels, 0, 0);
    this.#file = state.file;
    this.#empty = state.empty;
    if (!this.#empty) this.#changed();
  }

  #blank() {
    const { height, width, times } = this.#area;
    this.#resize(times * height, times * width, times);
    this.#file = null;
    this.#empty = true;
  }

  #resize(height, width, times) {
    this.#leaveKeys();
    this.#times = times;
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#context.fillStyle = GROUND;
    this.#context.fillRect(0, 0, width, height);
  }

  #remember() {
    const { width, height } = this.#canvas;
    const pixels = this.#context.getImageData(0, 0, width, height);
    this.#before.push({ pixels, times: this.#times, file: this.#file, empty: this.#empty });
    if (this.#before.length > STEPS_BACK) this.#before.shift();
  }

  #at(event) {
    const shown = this.#canvas.getBoundingClientRect();
    const x = ((event.clientX - shown.left) / shown.width) * this.#canvas.width;
    const y = ((event.clientY - shown.top) / shown.height) * this.#canvas.height;
    return [x, y];
  }

  #down(event) {
    if (event.button !== 0) return;
    this.#leaveKeys();
    if (this.#last) return; // a second finger draws nothing
    this.#canvas.setPointerCapture(event.pointerId);
    this.#remember();
    this.#last = this.#at(event);
    this.#stroke(this.#last);
  }

  #move(event) {
    if (!this.#last || this.#keys || !event.isPrimary) return; // the pen of the keys is not the mouse's
    for (const each of event.getCoalescedEvents?.() ?? [event]) this.#stroke(this.#at(each));
  }

  #key(event) {
    if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.undo();
      return;
    }
    const arrow = ARROWS[event.key];
    if ((!arrow && event.key !== " ") || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (this.#last && !this.#keys) return; // somebody draws with the mouse
    const { width, height } = this.#canvas;
    this.#keys ??= [width / 2, height / 2];
    if (arrow) {
      const step = Math.max(width, height) / KEY_STEPS;
      const kept = (value, most) => Math.min(most, Math.max(0, value));
      const [x, y] = this.#keys;
      this.#keys = [kept(x + arrow[0] * step, width), kept(y + arrow[1] * step, height)];
      if (this.#last) this.#stroke(this.#keys);
    } else if (this.#last) {
      this.#last = null;
    } else {
      this.#remember();
      this.#last = this.#keys;
      this.#stroke(this.#keys);
    }
    this.#showCross();
  }

  #leaveKeys() {
    if (this.#keys) this.#last = null;
    this.#keys = null;
    this.#cross.hidden = true;
  }

  #showCross() {
    const [x, y] = this.#keys;
    this.#cross.style.left = `${(100 * x) / this.#canvas.width}%`;
    this.#cross.style.top = `${(100 * y) / this.#canvas.height}%`;
    this.#cross.classList.toggle("down", this.#last !== null);
    this.#cross.hidden = false;
  }

  #stroke(to) {
    const { colour, width } = this.#pen();
    const side = Math.max(this.#canvas.width, this.#canvas.height);
    const context = this.#context;
    context.strokeStyle = colour ?? GROUND;
    context.lineWidth = (width / 1000) * side;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...this.#last);
    context.lineTo(...to); // a point, where nothing moved: its caps are round
    context.stroke();
    this.#last = to;
    this.#file = null;
    this.#empty = false;
    this.#changed();
  }
}
