// What came back: the pictures, the same request for a program, or what is to be changed.

import { hasKey } from "./api.js";

const find = (selector, within = document) => within.querySelector(selector);

/** Show a reply. The pictures that are there stay until the new ones can be drawn. */
export async function showReply(reply, task) {
  const figures = reply.images.map((image) => figure(reply, image, task));
  await Promise.allSettled(figures.map((element) => find("img", element).decode()));
  const { queue_s, run_s, encode_s, cached } = reply.timing;
  const ms = (seconds) => `${(seconds * 1000).toFixed(1)} ms`;
  const count = reply.images.length === 1 ? "1 picture" : `${reply.images.length} pictures`;
  find("#summary").textContent = `${count} of ${reply.model}, version ${reply.version}, from seed `
    + `${reply.seed}. `
    + (cached ? "Kept from an earlier request."
      : `Queue ${ms(queue_s)}, run ${ms(run_s)}, encode ${ms(encode_s)}.`);
  find("#gallery").replaceChildren(...figures);
}

function figure(reply, image, task) {
  const element = find("#picture").content.firstElementChild.cloneNode(true);
  const picture = find("img", element);
  picture.src = `data:image/png;base64,${image.data}`;
  picture.width = reply.width;
  picture.height = reply.height;
  picture.alt = `${image.label ?? "picture"}, seed ${image.seed}`;
  picture.classList.toggle("small", reply.width < 160);
  const link = find("a", element);
  if (task === "generate") linkPlainUrl(link, reply, image);
  else linkDownload(link, reply, picture.src, image.seed);
  find(".class", element).textContent = image.label ?? "";
  const seed = find(".seed", element);
  seed.textContent = `seed ${image.seed}`;
  seed.addEventListener("click", () => {
    const field = find("#form").elements.seed;
    field.value = image.seed;
    field.focus();
  });
  return element;
}

function linkPlainUrl(link, reply, image) {
  const query = new URLSearchParams({ version: reply.version, seed: image.seed, ...reply.parameters });
  if (image.label !== null) query.set("label", image.label);
  link.textContent = "plain URL";
  link.href = `generate/${encodeURIComponent(reply.model)}.png?${query}`;
  link.target = "_blank";
  link.rel = "noopener";
  link.hidden = hasKey() || find("#form").elements.text.required; // neither goes into a link
}

function linkDownload(link, reply, url, seed) {
  link.textContent = "download";
  link.href = url;
  link.download = `${reply.model}-${reply.version}-${seed}.png`;
}

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

/** Show how a program asks for the same, with a reference or without. */
export function showProgram(task, asked, refers) {
  const key = hasKey() ? ['-H "Authorization: Bearer $GANYMEDE_KEY"'] : [];
  const files = ["-F image=@picture.png", ...(refers ? ["-F reference=@reference.png"] : [])];
  const fields = task === "translate"
    ? [...files, ...Object.entries(asked).map(([name, value]) => `-F ${quoted(`${name}=${value}`)}`)]
    : ["-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(asked))}`];
  const parts = [new URL(task, document.baseURI), ...key, "-H 'Accept: image/png'", ...fields, "-o pictures.png"];
  find("#program pre").textContent = `curl ${parts.join(" \\\n  ")}`;
  find("#program").hidden = false;
}

/** Show what was refused and why; null takes it away. */
export function showProblem(problem) {
  const box = find("#problem");
  box.hidden = !problem;
  box.replaceChildren();
  if (!problem) return;
  if (problem.status === 401) find("#key-form").hidden = false;
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
