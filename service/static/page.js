// The front page: no build step, no dependency. What a model can be asked is read off its manifest.

import { fetchJson, fetchWithKey, hasKey, keepKey, latestOnly } from "./api.js";
import { showProblem, showProgram, showReply } from "./gallery.js";
import { givenWish, showDrawn, showKnobs } from "./knobs.js";
import { Reference } from "./reference.js";
import { Sketch, areaFor } from "./sketch.js";

const find = (selector, within = document) => within.querySelector(selector);
const form = find("#form");
const TASKS = ["generate", "translate"];
const STROKES_MS = 60; // what is drawn within this is asked for together
const counts = { generate: 8, translate: 4 }; // of pictures, until somebody says otherwise
let models = [];
let keptSeed = null; // while somebody draws: other strokes, not another style
let inputs = []; // of the graph that is asked

const chosenModel = () => models.find((model) => model.name === form.elements.model?.value);
const chosenTask = () => form.elements.task.value;

// --- What can be asked for. ---

async function showPreview(picture, url) {
  if (!hasKey()) {
    picture.src = url;
    return;
  }
  const response = await fetchWithKey(url); // which an <img> cannot do
  const reader = new FileReader();
  reader.addEventListener("load", () => { picture.src = reader.result; });
  if (response.ok) reader.readAsDataURL(await response.blob());
}

function modelCard(model) {
  const card = find("#model-card").content.firstElementChild.cloneNode(true);
  const radio = find("input", card);
  radio.value = model.name;
  radio.checked = model.default;
  radio.disabled = !TASKS.some((task) => model.tasks.includes(task));
  const picture = find("img", card);
  if (model.preview) showPreview(picture, model.preview);
  else picture.hidden = true;
  find(".name", card).textContent = model.name;
  const classes = model.classes ? `${model.classes.length} classes` : model.tasks.join(", ");
  find(".facts", card).textContent = `version ${model.version} · ${classes} · ${model.licence}`;
  card.title = model.description;
  return card;
}

async function showModels() {
  const page = await fetchJson("models");
  models = page.models;
  form.elements.num_images.max = page.limits.max_images;
  find("#models").replaceChildren(...models.map(modelCard));
  if (!models.length) {
    find("#models").textContent = "No model is loaded.";
  } else if (!chosenModel()) {
    (find("#models input:enabled") ?? {}).checked = true;
  }
  await showModel();
}

/** Show the tasks of the chosen model, and the controls of the chosen one. */
async function showModel() {
  const model = chosenModel();
  if (!model) return;
  const offered = TASKS.filter((task) => model.tasks.includes(task));
  find("#tasks").hidden = offered.length < 2;
  if (!offered.includes(chosenTask())) form.elements.task.value = offered[0];
  const task = chosenTask();
  const { manifest } = await fetchJson(`models/${encodeURIComponent(model.name)}`);
  if (model !== chosenModel() || task !== chosenTask()) return; // chosen anew meanwhile
  ({ inputs } = manifest.graphs[manifest.tasks[task]]);
  showKnobs(inputs, manifest.size, task === "translate");
  reference.isTaken = task === "translate" && model.reference.length > 0;
  showChances();
  showTexts(model.texts ?? []);
  form.elements.num_images.value = counts[task];
  find(".go").textContent = task === "translate" ? "Translate" : "Generate";
  find("#work").classList.toggle("beside", task === "translate");
  find("#source").hidden = task !== "translate";
  sketch.area = areaFor(manifest.size);
}

/** Show what can be said of chance: a reference tells what the seed would. */
function showChances() {
  showDrawn(inputs, reference.file ? chosenModel().reference : []);
}

/** Offer what a model that reads texts is known to understand, and begin with one of them. */
function showTexts(examples) {
  find("#texts").replaceChildren(...examples.map((text) => new Option(text)));
  if (examples.length && !form.elements.text.value) form.elements.text.value = examples[0];
}

async function showHealth() {
  const health = find("#health");
  const problem = await fetchJson("health/ready").then(() => null, (refusal) => refusal);
  health.className = problem ? "unready" : "ready";
  health.textContent = problem ? "not ready" : "ready";
  health.title = problem?.detail ?? "";
}

// --- Asking: one request at a time, and of what is wished meanwhile the latest. ---

async function generate(asked) {
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  return fetchJson("generate", { method: "POST", headers, body: JSON.stringify(asked) });
}

async function translate(asked) {
  const body = new FormData();
  body.set("image", await sketch.picture(), "picture");
  if (reference.file) body.set("reference", reference.file, "reference");
  for (const [name, value] of Object.entries(asked)) body.set(name, value);
  return fetchJson("translate", { method: "POST", headers: { Accept: "application/json" }, body });
}

const ask = latestOnly(async () => {
  const task = chosenTask();
  if (task === "translate" && sketch.isEmpty) {
    find("#summary").textContent = "Draw something, or bring a picture: the answer comes as you draw.";
    return;
  }
  const button = find(".go");
  button.setAttribute("aria-busy", "true");
  try {
    const asked = { model: chosenModel()?.name, ...givenWish() };
    if (keptSeed !== null) asked.seed ??= keptSeed;
    const reply = await (task === "translate" ? translate(asked) : generate(asked));
    if (task === "translate") keptSeed = reply.seed;
    showProblem(null);
    await showReply(reply, task);
    showProgram(task, { ...asked, seed: reply.seed }, reference.file !== null);
  } catch (problem) {
    showProblem(problem);
  } finally {
    button.setAttribute("aria-busy", "false");
  }
});

function askAnew() {
  keptSeed = null;
  return ask();
}

let soon = null;
function askSoon() {
  soon ??= setTimeout(() => { soon = null; ask(); }, STROKES_MS);
}

function start() {
  showModels().then(() => {
    find("#key-form").hidden = true;
    showProblem(null);
    if (models.length && form.checkValidity()) askAnew();
  }, showProblem);
}

// --- The picture to start from. ---

const eraser = find("#eraser");
const erases = () => eraser.getAttribute("aria-pressed") === "true";
const pen = () => ({ colour: erases() ? null : find("#colour").value, width: Number(find("#width").value) });
const sketch = new Sketch(find("#paper canvas"), find("#cross"), pen, askSoon);

const reference = new Reference(find("#reference"), () => {
  showChances();
  if (!sketch.isEmpty) askSoon();
});

function bring(files, to = sketch) {
  const [file] = files;
  if (file && chosenTask() === "translate") to.bring(file).catch(showProblem);
}

/** What a file that is dragged there is for. */
function isForReference(event) {
  return event.target.closest?.("#reference") != null;
}

eraser.addEventListener("click", () => { eraser.setAttribute("aria-pressed", String(!erases())); });
find("#undo").addEventListener("click", () => sketch.undo());
find("#clear").addEventListener("click", () => sketch.clear());
for (const [input, to] of [["#file", sketch], ["#reference input", reference]]) {
  find(input).addEventListener("change", (event) => {
    bring(event.target.files, to);
    event.target.value = ""; // so that the same file can be chosen again
  });
}
document.addEventListener("paste", (event) => bring(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault(); // a picture that misses must not replace the page
  showTarget(isForReference(event) ? "reference" : "paper");
});
for (const end of ["dragleave", "drop"]) {
  document.addEventListener(end, () => showTarget(null));
}
document.addEventListener("drop", (event) => {
  event.preventDefault();
  bring(event.dataTransfer.files, isForReference(event) ? reference : sketch);
});
function showTarget(id) {
  for (const target of ["paper", "reference"]) find(`#${target}`).classList.toggle("over", target === id);
}

find("#key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey(event.target.elements.key.value);
  event.target.reset();
  start();
});
form.addEventListener("submit", (event) => { event.preventDefault(); askAnew(); });
form.addEventListener("change", (event) => {
  if (["model", "task"].includes(event.target.name)) {
    showModel().then(() => { if (chosenTask() === "translate") ask(); }, showProblem);
  } else if (event.target.name === "label") {
    showChances();
  } else if (event.target.name === "num_images") {
    counts[chosenTask()] = Number(event.target.value);
  }
});
form.addEventListener("input", (event) => {
  const isKnob = event.target.matches("input[type=range], select");
  if (isKnob && chosenTask() === "translate" && !sketch.isEmpty) askSoon();
});
find("#forget").addEventListener("click", () => { form.elements.seed.value = ""; keptSeed = null; });
showHealth();
start();
