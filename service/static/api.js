// The HTTP interface, as everybody else uses it, with the API key where the service asks for one.

const KEPT = "ganymede-key";
let key = sessionStorage.getItem(KEPT); // until the tab is closed

export const hasKey = () => key !== null;

export function keepKey(given) {
  key = given;
  sessionStorage.setItem(KEPT, key);
}

export function fetchWithKey(url, options = {}) {
  const headers = key ? { ...options.headers, Authorization: `Bearer ${key}` } : options.headers;
  return fetch(url, { ...options, headers });
}

/** What was answered; a refusal is thrown, as the problem document that says what to change. */
export async function fetchJson(url, options) {
  let response;
  try {
    response = await fetchWithKey(url, options);
  } catch {
    throw { title: "No answer", detail: "the service could not be reached: is it running?" };
  }
  const body = await response.json().catch(() => ({ title: response.statusText }));
  if (!response.ok) throw body;
  return body;
}

/** Run `work` at most once at a time. Of the calls that come meanwhile the last one counts. */
export function latestOnly(work) {
  let running = false;
  let next = null;
  return async (...wanted) => {
    next = wanted;
    if (running) return;
    running = true;
    try {
      while (next) {
        const now = next;
        next = null;
        await work(...now);
      }
    } finally {
      running = false;
    }
  };
}
