// Keeps the page true: the answer follows the form, and both follow the version that is live.
// Without it the page still works, by sending the form. No library, nothing from elsewhere.
"use strict";

const main = document.querySelector("main");
const byId = (id) => document.getElementById(id);
const WAIT_MS = 120;

let shown = null; // the answer on the page: { values: {output: number}, version }
let latest = 0; // only the answer to the latest question is shown
let timer = 0;

// A number for people; `figure` in page/html.rs does the same.
function figure(value) {
  const size = Math.abs(value);
  if (size >= 1e15 || (size < 1e-4 && size > 0)) return value.toExponential(2).replace("e+", "e");
  const decimals = size >= 1000 ? 0 : size >= 1 ? 2 : size >= 0.1 ? 3 : size >= 0.01 ? 4 : 6;
  return value.toLocaleString("en-US", { maximumFractionDigits: decimals });
}

const percent = (share) => `${(share * 100).toFixed(1)} %`;
const fields = () => [...document.querySelectorAll("[data-kind=number], [data-kind=category]")]
  .filter((field) => field.name);

function request() {
  const inputs = fields().map((field) => {
    const number = field.dataset.kind === "number";
    const value = number ? (field.value.trim() === "" ? NaN : Number(field.value)) : field.value;
    if (number && !Number.isFinite(value)) {
      throw new Error(`${field.labels[0].textContent} must be a number`);
    }
    return { name: field.name, shape: [1, 1], datatype: number ? "FP64" : "BYTES", data: [value] };
  });
  return JSON.stringify({ inputs });
}

async function predict(cause) {
  const mine = ++latest;
  let body;
  try {
    body = request();
  } catch (error) {
    problem(error.message);
    return;
  }
  showRequest(body);
  try {
    const response = await fetch(`/v2/models/${main.dataset.model}/infer`, { method: "POST", body });
    const answer = await response.json();
    if (mine !== latest) return;
    if (response.ok) show(answer, cause);
    else problem(answer.error);
  } catch {
    if (mine === latest) problem("The application cannot be reached. The page tries again when it is back.");
  }
}

// The request behind the answer, to be pasted into a shell.
function showRequest(body) {
  const quoted = body.replaceAll("'", "'\\''");
  const url = `${location.origin}/v2/models/${main.dataset.model}/infer`;
  document.querySelector("#api code").textContent = `curl -s ${url} -d '${quoted}'`;
  byId("api").hidden = false;
}

function problem(text) {
  const place = byId("problem");
  place.hidden = !text;
  place.textContent = text || "";
  document.querySelector(".answer").classList.toggle("stale", Boolean(text));
}

function show(answer, cause) {
  problem("");
  const tensors = Object.fromEntries(answer.outputs.map((tensor) => [tensor.name, tensor.data[0]]));
  const before = shown;
  shown = { values: tensors, version: answer.model_version };
  for (const result of document.querySelectorAll("#results [data-output]")) {
    const value = tensors[result.dataset.output];
    const output = result.querySelector("output");
    if (result.dataset.kind === "probability") {
      output.textContent = tensors[`${result.dataset.output}_label`];
      result.querySelector("[data-percent]").textContent = percent(value);
      result.querySelector("progress").value = value;
    } else {
      output.textContent = figure(value);
    }
  }
  byId("version").textContent = answer.model_version;
  byId("digest").textContent = `${answer.parameters.digest.replace("blake3:", "").slice(0, 12)}…`;
  byId("digest").title = answer.parameters.digest;
  if (cause === "version" && before) tellChange(before);
}

// Says what another version changed for the values that stand in the form.
function tellChange(before) {
  const changes = [...document.querySelectorAll("#results [data-output]")].map((result) => {
    const [old, now] = [before.values[result.dataset.output], shown.values[result.dataset.output]];
    if (old === undefined || now === undefined) return "";
    if (old === now) return "the answer is the same";
    if (result.dataset.kind === "probability") return `${percent(old)} → ${percent(now)}`;
    const share = old === 0 ? "" : ` (${now > old ? "+" : "−"}${Math.abs((now / old - 1) * 100).toFixed(1)} %)`;
    return `${figure(old)} → ${figure(now)} ${result.dataset.unit}${share}`;
  });
  const news = byId("news");
  news.textContent = `Version ${shown.version} went live: ${changes.filter(Boolean).join(", ")}`;
  news.hidden = false;
  for (const element of [news, byId("results")]) {
    element.classList.remove("fresh");
    void element.offsetWidth; // lets the animation start again
    element.classList.add("fresh");
  }
}

// Another version may have another form: what was entered stays where the field stays.
async function changeVersion() {
  const response = await fetch(location.pathname);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const [next, about] = [page.querySelector("main"), page.getElementById("about")];
  if (!next || !about || !next.dataset.version) return;
  const form = page.getElementById("form");
  if (form.dataset.schema !== byId("form").dataset.schema) {
    const entered = new Map(fields().map((field) => [field.name, field.value]));
    const focused = document.activeElement?.name;
    byId("fields").replaceWith(page.getElementById("fields"));
    byId("form").dataset.schema = form.dataset.schema;
    for (const field of fields()) {
      const value = entered.get(field.name);
      const possible = field.dataset.kind === "number" || [...field.options].some((option) => option.value === value);
      if (value !== undefined && possible) field.value = value;
      if (focused && field.name === focused) field.focus({ preventScroll: true });
    }
    byId("results").replaceWith(page.getElementById("results"));
  }
  about.open = byId("about").open;
  byId("about").replaceWith(about);
  fields().forEach(mark);
  await predict("version");
}

// The slider and the warning of a field say what its number says.
function mark(field) {
  const slider = document.querySelector(`[data-for="${field.id}"]`);
  if (!slider) return;
  const value = Number(field.value);
  slider.value = field.value;
  slider.closest(".field").classList.toggle("outside", value < Number(slider.min) || value > Number(slider.max));
}

function address() {
  const changed = fields().filter((field) => field.value !== field.dataset.typical);
  // What the switch and the lookup of stored predictions put there stays.
  const others = [...new URLSearchParams(location.search)].filter(([name]) => name === "_show" || name === "_key");
  const values = changed.map((field) => [field.name, field.value]);
  const query = new URLSearchParams([...values, ...others]).toString();
  history.replaceState(null, "", query ? `?${query}` : location.pathname);
}

function changed() {
  clearTimeout(timer);
  byId("news").hidden = true;
  timer = setTimeout(() => {
    address();
    predict("form");
  }, WAIT_MS);
}

function localTimes() {
  for (const time of document.querySelectorAll("[data-since]")) {
    const date = new Date(Number(time.dataset.since));
    const today = date.toDateString() === new Date().toDateString();
    time.textContent = today ? date.toLocaleTimeString() : date.toLocaleString();
  }
}

// Says what is under way; nothing while the wanted version is live and all is well.
function status(state) {
  const waits = state.wanted && state.served && state.wanted.version !== state.served.version;
  const phase = waits ? `version ${state.wanted.version}: ${state.phase_detail}` : state.phase_detail;
  const quiet = state.phase === "live" && !waits;
  tellStatus([quiet ? "" : phase, ...state.warnings].filter(Boolean).join(" · "), state.phase);
}

function tellStatus(text, phase) {
  const place = document.querySelector("[data-status]");
  place.textContent = text;
  place.hidden = !text;
  for (const dot of document.querySelectorAll("main .dot")) dot.dataset.phase = phase;
}

function follow() {
  const events = new EventSource(`/models/${main.dataset.model}/events`);
  let lost = false;
  events.addEventListener("state", async (event) => {
    const state = JSON.parse(event.data);
    if (!byId("form")) {
      if (state.served) location.reload();
      else status(state);
      return;
    }
    status(state);
    if (!state.served) return;
    const time = document.querySelector("[data-since]");
    if (time) time.dataset.since = state.served.since_unix_ms;
    localTimes();
    if (state.served.manifest !== main.dataset.digest) {
      main.dataset.digest = state.served.manifest;
      main.dataset.version = state.served.version;
      await changeVersion();
    } else if (lost) {
      await predict("form");
    }
    lost = false;
  });
  events.addEventListener("error", () => {
    lost = true;
    tellStatus("connection lost, trying again", "lost");
  });
}

async function refreshList() {
  const state = await (await fetch("/status")).json();
  for (const model of state.models) {
    const card = document.querySelector(`[data-card="${model.model}"]`);
    if (!card) continue;
    const values = {
      version: model.served ? model.served.version : "–",
      generation: model.generation_seen,
      predictions: model.predictions.toLocaleString("en-US"),
      phase: model.phase_detail,
    };
    for (const [name, value] of Object.entries(values)) card.querySelector(`[data-field=${name}]`).textContent = value;
    card.querySelector(".dot").dataset.phase = model.phase;
  }
}

function start() {
  if ("list" in main.dataset) {
    setInterval(() => refreshList().catch(() => {}), 2000);
    return;
  }
  if (!main.dataset.model) return;
  localTimes();
  const form = byId("form");
  if (form) {
    form.addEventListener("input", (event) => {
      const field = event.target.dataset.for ? byId(event.target.dataset.for) : event.target;
      if (field !== event.target) field.value = event.target.value;
      mark(field);
      changed();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      changed();
    });
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      for (const field of fields()) {
        field.value = field.dataset.typical;
        mark(field);
      }
      changed();
    });
    predict("form");
  }
  follow();
}

if (main) start();
