// One sitting. The server says whose turn it is; this page shows, measures and asks.

const find = (selector) => document.querySelector(selector);
const KEPT = "study-sitting"; // so that a reloaded page goes on where it was
const FIXATION_MS = 500;
const WORDS = { left: "Left", right: "Right", real: "Real", generated: "Generated" };
const QUESTIONS = { pairs: "Which one was generated?", single: "Was it real, or generated?" };

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  const response = await fetch(path, options);
  const told = await response.json();
  if (!response.ok) throw new Error(typeof told.detail === "string" ? told.detail : "that is not allowed");
  return told;
}

const frame = () => new Promise((resolve) => { requestAnimationFrame(resolve); });
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Let pictures stand for so long, to the frame; how long they really stood. */
async function expose(pictures, exposureMs) {
  const images = pictures.map((png) => {
    const image = new Image();
    image.alt = "";
    image.src = `data:image/png;base64,${png}`;
    return image;
  });
  await Promise.all(images.map((image) => image.decode()));
  find("#fixation").hidden = false;
  find("#stage").append(...images);
  await pause(FIXATION_MS);
  find("#fixation").hidden = true;
  find("#stage").classList.add("shown");
  const shown = await frame();
  let now = shown;
  while (now - shown < exposureMs - 8) now = await frame(); // half a frame early is nearest
  find("#stage").classList.remove("shown");
  for (const image of images) image.remove();
  return now - shown;
}

/** Wait for one of the answers, by button or by arrow key. */
function choice(answers) {
  return new Promise((resolve) => {
    const answered = (answer) => {
      document.removeEventListener("keydown", byKey);
      find("#answers").replaceChildren();
      resolve(answer);
    };
    const byKey = ({ key, repeat }) => {
      const place = ["ArrowLeft", "ArrowRight"].indexOf(key);
      if (place >= 0 && !repeat) answered(answers[place]);
    };
    const buttons = answers.map((answer, place) => {
      const button = document.createElement("button");
      button.textContent = `${["←", "→"][place]} ${WORDS[answer]}`;
      button.value = answer;
      button.addEventListener("click", () => answered(answer));
      return button;
    });
    find("#answers").replaceChildren(...buttons);
    document.addEventListener("keydown", byKey);
  });
}

function told(feedback) {
  find("#question").textContent = (feedback.right ? "Right: " : "Wrong: ")
    + (["left", "right"].includes(feedback.truth)
      ? `the ${feedback.truth} one was generated.` : `it was ${feedback.truth}.`);
  const next = find("#next");
  next.hidden = false;
  next.focus();
  return new Promise((resolve) => {
    next.addEventListener("click", () => { next.hidden = true; resolve(); }, { once: true });
  });
}

async function turn(state) {
  const left = state.is_practice ? state.practice - state.number : state.length - state.number;
  find("#progress").textContent = `${state.is_practice ? "Practice" : "Trials"}: ${left} left`;
  find("#question").textContent = "";
  let exposureMs = 0; // shown before the page was loaded anew: such a trial is not counted
  if (!state.shown) {
    const { png } = await ask(`sittings/${state.sitting}/${state.number}/pictures`, {});
    exposureMs = await expose(png, state.exposure_ms);
  }
  find("#question").textContent = QUESTIONS[state.kind];
  const asked = performance.now();
  const answer = await choice(state.answers);
  const said = {
    number: state.number, answer, exposure_ms: exposureMs, response_ms: performance.now() - asked,
  };
  const next = await ask(`sittings/${state.sitting}/answers`, said);
  if (next.feedback) await told(next.feedback);
  return next;
}

async function sit(state) {
  sessionStorage.setItem(KEPT, state.sitting);
  find("#welcome").hidden = true;
  find("#trial").hidden = false;
  while (state.number !== null) state = await turn(state);
  find("#trial").hidden = true;
  find("#end").hidden = false;
}

function showProblem(error) {
  find("#problem").textContent = error.message;
  find("#problem").hidden = false;
}

find("#begin").addEventListener("submit", (event) => {
  event.preventDefault();
  find("#problem").hidden = true;
  ask("sittings", { participant: event.target.elements.participant.value }).then(sit).catch(showProblem);
});

const kept = sessionStorage.getItem(KEPT);
if (kept) {
  ask(`sittings/${kept}`).then((state) => sit(state).catch(showProblem), () => sessionStorage.removeItem(KEPT));
}
