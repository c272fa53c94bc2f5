// Switches a model's page between live and stored predictions, and looks keys up, without loading it again.
// Without it the page still works, by sending the forms.
"use strict";

let lastLookup = 0; // only what the latest question found is shown

function storedAddress(values) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const text = query.toString();
  history.replaceState(null, "", text ? `?${text}` : location.pathname);
}

// What the server renders for this key takes the place of what stood there.
async function lookUp() {
  const mine = ++lastLookup;
  const place = byId("stored-result");
  place.classList.add("stale");
  const query = new URLSearchParams({ _show: main.dataset.show, _key: byId("key").value.trim() });
  try {
    const response = await fetch(`${location.pathname}?${query}`);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const next = page.getElementById("stored-result");
    if (mine !== lastLookup) return;
    if (!next) throw new Error("no panel");
    byId("stored-result").replaceWith(next);
    localTimes();
  } catch {
    if (mine === lastLookup) byId("stored-result").textContent = "The application cannot be reached. Try again.";
  }
}

function showPredictions(which) {
  main.dataset.show = which;
  for (const button of document.querySelectorAll(".switch button")) {
    button.setAttribute("aria-pressed", String(button.value === which));
  }
  storedAddress({ _show: which });
  if (which !== "live") lookUp();
}

document.addEventListener("submit", (event) => {
  if (event.target.matches(".switch") && event.submitter) {
    event.preventDefault();
    showPredictions(event.submitter.value);
  } else if (event.target.id === "lookup") {
    event.preventDefault();
    storedAddress({ _show: main.dataset.show, _key: byId("key").value.trim() });
    lookUp();
  }
});
