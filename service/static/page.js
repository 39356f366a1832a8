// The front page: no build step, no dependency. It uses the same HTTP interface as everybody else.
"use strict";

const find = (selector, within = document) => within.querySelector(selector);
const copy = (id) => find(id).content.firstElementChild.cloneNode(true);
const form = find("#form");
const ANY = "";
let models = [];

function chosenModel() {
  return models.find((model) => model.name === form.elements.model?.value);
}

// --- The API key, where the service asks for one: kept until the tab is closed. ---

const KEPT = "ganymede-key";
let key = sessionStorage.getItem(KEPT);

function fetchWithKey(url, options = {}) {
  const headers = key ? { ...options.headers, Authorization: `Bearer ${key}` } : options.headers;
  return fetch(url, { ...options, headers });
}

function takeKey() {
  key = find("#key-form").elements.key.value;
  sessionStorage.setItem(KEPT, key);
  find("#key-form").reset();
  start();
}

async function fetchJson(url, options) {
  let response;
  try {
    response = await fetchWithKey(url, options);
  } catch {
    throw { title: "No answer", detail: "the service could not be reached: is it running?" };
  }
  const body = await response.json().catch(() => ({ title: response.statusText }));
  if (response.status === 401) find("#key-form").hidden = false;
  if (!response.ok) throw body;
  return body;
}

// --- What can be asked for. ---

async function showPreview(picture, url) {
  if (!key) {
    picture.src = url;
    return;
  }
  const response = await fetchWithKey(url); // which an <img> cannot do
  const reader = new FileReader();
  reader.addEventListener("load", () => { picture.src = reader.result; });
  if (response.ok) reader.readAsDataURL(await response.blob());
}

function modelCard(model) {
  const card = copy("#model-card");
  const radio = find("input", card);
  radio.value = model.name;
  radio.checked = model.default;
  radio.disabled = !model.tasks.includes("generate");
  const picture = find("img", card);
  if (model.preview) showPreview(picture, model.preview);
  else picture.hidden = true;
  find(".name", card).textContent = model.name;
  const classes = model.classes ? `${model.classes.length} classes` : model.tasks.join(", ");
  find(".facts", card).textContent = `version ${model.version} · ${classes} · ${model.licence}`;
  card.title = model.description;
  return card;
}

function scalarField(name, scalar) {
  const field = copy("#scalar-field");
  find(".name", field).textContent = name.replaceAll("_", " ");
  const range = find("input", field);
  range.name = `scalar:${name}`;
  range.min = scalar.low;
  range.max = scalar.high;
  range.step = (scalar.high - scalar.low) / 100 || 1;
  range.defaultValue = scalar.default;
  const show = () => { find("output", field).textContent = Number(range.value).toFixed(2); };
  range.addEventListener("input", show);
  show();
  return field;
}

function showKnobs() {
  const model = chosenModel();
  if (!model) return;
  find("#label-field").hidden = !model.classes;
  const options = (model.classes ?? []).map((name, index) => new Option(name, index));
  form.elements.label.replaceChildren(new Option("any", ANY), ...options);
  const scalars = Object.entries(model.scalars);
  find("#scalars").replaceChildren(...scalars.map(([name, scalar]) => scalarField(name, scalar)));
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
  showKnobs();
}

async function showHealth() {
  const health = find("#health");
  const problem = await fetchJson("health/ready").then(() => null, (refusal) => refusal);
  health.className = problem ? "unready" : "ready";
  health.textContent = problem ? "not ready" : "ready";
  health.title = problem?.detail ?? "";
}

// --- Asking. ---

function wish() {
  const asked = { model: chosenModel()?.name, num_images: Number(form.elements.num_images.value) };
  const seed = form.elements.seed.value.trim();
  if (seed) asked.seed = Number(seed);
  if (form.elements.label.value !== ANY) asked.label = Number(form.elements.label.value);
  for (const range of form.querySelectorAll("input[type=range]")) {
    asked[range.name.replace("scalar:", "")] = Number(range.value);
  }
  return asked;
}

function plainUrl(reply, image) {
  const query = new URLSearchParams({ version: reply.version, seed: image.seed, ...reply.parameters });
  if (image.label !== null) query.set("label", image.label);
  return `generate/${encodeURIComponent(reply.model)}.png?${query}`;
}

function figure(reply, image) {
  const element = copy("#picture");
  const picture = find("img", element);
  picture.src = `data:image/png;base64,${image.data}`;
  picture.width = reply.width;
  picture.height = reply.height;
  picture.alt = `${image.label ?? "picture"}, seed ${image.seed}`;
  picture.classList.toggle("small", reply.width < 160);
  const link = find("a", element);
  link.href = plainUrl(reply, image);
  link.hidden = key !== null; // a link cannot send it
  find(".class", element).textContent = image.label ?? "";
  const seed = find(".seed", element);
  seed.textContent = `seed ${image.seed}`;
  seed.addEventListener("click", () => {
    form.elements.seed.value = image.seed;
    form.elements.seed.focus();
  });
  return element;
}

function showReply(reply) {
  const { queue_s, run_s, encode_s, cached } = reply.timing;
  const ms = (seconds) => `${(seconds * 1000).toFixed(1)} ms`;
  const count = reply.images.length === 1 ? "1 picture" : `${reply.images.length} pictures`;
  find("#summary").textContent = `${count} of ${reply.model}, version ${reply.version}, from seed `
    + `${reply.seed}. `
    + (cached ? "Kept from an earlier request."
      : `Queue ${ms(queue_s)}, run ${ms(run_s)}, encode ${ms(encode_s)}.`);
  find("#gallery").replaceChildren(...reply.images.map((image) => figure(reply, image)));
}

function showProgram(asked, seed) {
  const body = JSON.stringify({ ...asked, seed }).replaceAll("'", "'\\''");
  find("#program pre").textContent = `curl ${new URL("generate", document.baseURI)} \\\n`
    + (key ? '  -H "Authorization: Bearer $GANYMEDE_KEY" \\\n' : "")
    + `  -H 'Content-Type: application/json' -H 'Accept: image/png' -o pictures.png \\\n  -d '${body}'`;
  find("#program").hidden = false;
}

function showProblem(problem) {
  const box = find("#problem");
  box.hidden = !problem;
  box.replaceChildren();
  if (!problem) return;
  const title = document.createElement("h2");
  title.textContent = problem.title ?? "Something went wrong";
  box.append(title);
  const fields = problem.errors ?? [];
  const list = document.createElement(fields.length ? "ul" : "p");
  if (!fields.length) list.textContent = problem.detail ?? String(problem);
  for (const { field, detail } of fields) {
    const item = document.createElement("li");
    item.textContent = `${field}: ${detail}`;
    list.append(item);
  }
  box.append(list);
  if (problem.request_id) {
    const id = document.createElement("code");
    id.textContent = `request ${problem.request_id}`;
    box.append(id);
  }
}

async function generate() {
  const button = find(".go");
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  try {
    const headers = { "Content-Type": "application/json", Accept: "application/json" };
    const asked = wish();
    const reply = await fetchJson("generate", { method: "POST", headers, body: JSON.stringify(asked) });
    showProblem(null);
    showReply(reply);
    showProgram(asked, reply.seed);
  } catch (problem) {
    showProblem(problem);
  } finally {
    button.setAttribute("aria-busy", "false");
  }
}

function start() {
  showModels().then(() => {
    find("#key-form").hidden = true;
    showProblem(null);
    if (models.length) generate();
  }, showProblem);
}

find("#key-form").addEventListener("submit", (event) => { event.preventDefault(); takeKey(); });
form.addEventListener("submit", (event) => { event.preventDefault(); generate(); });
find("#models").addEventListener("change", showKnobs);
find("#forget").addEventListener("click", () => { form.elements.seed.value = ""; });
showHealth();
start();
