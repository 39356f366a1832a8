// The controls of a graph: one for each of its inputs that a person may set, by the input's role.

const find = (selector, within = document) => within.querySelector(selector);
const form = find("#form");
const ANY = 0; // where the label is drawn from each picture's seed: the first that may be chosen
const DRAWN = new Set(["latent", "noise", "label"]);
const FITS = {
  fixed: [["crop", "cut around the centre"], ["pad", "whole, framed"], ["stretch", "stretched"]],
  free: [["scale", "scaled where it must be"], ["keep", "as it is"]],
};

const ofRole = (inputs, role) => inputs.filter((input) => input.role === role);

/**
 * Show the seed, and how many pictures, where something is drawn: else all would be the same.
 * `told` names what does not come from the seed though its role does; a class may be chosen.
 */
export function showDrawn(inputs, told) {
  const chosen = form.elements.label.selectedIndex !== ANY;
  const isDrawn = (input) => DRAWN.has(input.role) && !told.includes(input.name)
    && !(input.role === "label" && chosen);
  find("#seed-field").hidden = find("#images-field").hidden = !inputs.some(isDrawn);
}

/** Show what a graph takes; `size` is that of its pictures, `starts` whether it starts from one. */
export function showKnobs(inputs, size, starts) {
  const [label] = ofRole(inputs, "label");
  const options = (label?.classes ?? []).map((name) => new Option(name, name));
  form.elements.label.replaceChildren(new Option("any"), ...options);
  find("#label-field").hidden = !label;

  const wantsText = ofRole(inputs, "text").length > 0;
  find("#text-field").hidden = !wantsText;
  form.elements.text.required = wantsText; // a hidden field must not hold the form back

  find("#fit-field").hidden = !starts;
  const fits = starts ? FITS[size.kind] : [];
  form.elements.fit.replaceChildren(...fits.map(([fit, says]) => new Option(`${fit}: ${says}`, fit)));

  find("#scalars").replaceChildren(...ofRole(inputs, "scalar").map(scalarField));
}

function scalarField(scalar) {
  const field = find("#scalar-field").content.firstElementChild.cloneNode(true);
  field.title = scalar.description;
  find(".name", field).textContent = scalar.name.replaceAll("_", " ");
  const range = find("input", field);
  range.name = `scalar:${scalar.name}`;
  range.min = scalar.low;
  range.max = scalar.high;
  range.step = (scalar.high - scalar.low) / 100 || 1;
  range.defaultValue = scalar.default;
  const show = () => { find("output", field).textContent = Number(range.value).toFixed(2); };
  range.addEventListener("input", show);
  show();
  return field;
}

/** What the controls say, as the members of a request. */
export function givenWish() {
  const { seed, num_images: count, label, text, fit } = form.elements;
  const wish = { num_images: find("#images-field").hidden ? 1 : Number(count.value) };
  if (seed.value.trim()) wish.seed = Number(seed.value);
  if (label.selectedIndex !== ANY) wish.label = label.value;
  if (text.required) wish.text = text.value;
  if (fit.value) wish.fit = fit.value;
  for (const range of form.querySelectorAll("input[type=range]")) {
    wish[range.name.replace("scalar:", "")] = Number(range.value);
  }
  return wish;
}
