// What makes the pages handier where scripts run. Nothing needs it: every form works without.
"use strict";

// One click copies a reference.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    say("Copied " + button.dataset.copy);
    button.classList.add("is-done");
    setTimeout(() => button.classList.remove("is-done"), 1500);
  });
}

// Says something to screen readers.
function say(text) {
  let live = document.querySelector("[data-live]");
  if (!live) {
    live = document.createElement("p");
    live.className = "visually-hidden";
    live.setAttribute("role", "status");
    live.dataset.live = "";
    document.body.append(live);
  }
  live.textContent = text;
}

// Faults are read first; what was done is told once, not again after a reload.
document.querySelector("[data-faults]")?.focus();
if (document.querySelector("[data-status]")) {
  history.replaceState(null, "", location.pathname);
}

// Menus close on Escape and when the focus or a click goes elsewhere.
for (const menu of document.querySelectorAll("details.menu")) {
  document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
  menu.addEventListener("focusout", (event) => { if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false; });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && menu.open) { menu.open = false; menu.querySelector("summary").focus(); }
  });
}

// A choice in a list's toolbar counts at once.
for (const select of document.querySelectorAll("form.toolbar select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

// Rows come by themselves: the stream says that there is something new, the server renders it.
const live = document.querySelector("[data-live-rows]");
if (live && "EventSource" in window) follow(live);

function follow(place) {
  const source = new EventSource(place.dataset.stream);
  let waiting = null;
  const renew = async () => {
    waiting = null;
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
    if (!answer?.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("[data-live-rows]");
    // Whoever reads why is not disturbed.
    if (fresh && !place.querySelector("details[open]")) place.replaceChildren(...fresh.childNodes);
  };
  const soon = () => { waiting ??= setTimeout(renew, 300); };
  source.addEventListener("entry", soon);
  source.addEventListener("lagged", soon);
}

// What was asked for is read first.
document.querySelector("[data-focus]")?.focus();

for (const form of document.querySelectorAll("[data-secret], [data-advised]")) advisedForm(form);

function advisedForm(form) {
  const domains = form.elements.domains;
  const advice = form.querySelector('[data-advice="domains"]');
  adviseOn(domains, advice);
  for (const chip of form.querySelectorAll("[data-add]")) {
    chip.addEventListener("click", () => {
      domains.value = [...entries(domains.value), chip.dataset.add].join("\n");
      domains.dispatchEvent(new Event("input", { bubbles: true }));
      domains.focus();
    });
  }
  const toggle = form.querySelector("#new_value");
  if (toggle) switchOn(form, toggle);
}

function entries(text) {
  return text.split(/[\n\r,]/).map((entry) => entry.trim()).filter(Boolean);
}

// The server says what is meant; the script only shows it, and writes the normalised form on leaving.
function adviseOn(input, place) {
  let timer, latest = 0;
  const ask = async () => {
    const mine = ++latest;
    if (!entries(input.value).length) { place.replaceChildren(); return; }
    const form = new URLSearchParams({ domains: input.value });
    const csrf = input.form.elements.csrf;
    if (csrf) form.set("csrf", csrf.value);
    const answer = await fetch(place.dataset.source, { method: "POST", body: form, headers: { Accept: "text/html" } }).catch(() => null);
    if (answer?.ok && mine === latest) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      place.replaceChildren(...page.body.childNodes);
    }
  };
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, 200); });
  input.addEventListener("blur", async () => {
    clearTimeout(timer);
    await ask();
    const typed = entries(input.value);
    const said = [...place.querySelectorAll(".advice-entry")];
    if (said.length === typed.length) {
      input.value = typed.map((entry, at) => said[at].querySelector("[data-normalised]")?.dataset.normalised ?? entry).join("\n");
    }
  });
  if (input.value.trim() && input.getAttribute("aria-invalid")) ask();
}

// Changing where a value may go switches value editing on, and says why.
function switchOn(form, toggle) {
  const why = form.querySelector("[data-why]");
  const watched = ["domains", "headers", "url_encoded", "surface"];
  const state = () => JSON.stringify(watched.map((name) => [...form.querySelectorAll(`[name="${name}"]`)].map((input) => (input.type === "checkbox" ? input.checked : entries(input.value)))));
  const stored = state();
  form.addEventListener("input", (event) => {
    if (!watched.includes(event.target.name)) return;
    const moved = state() !== stored;
    if (moved && !toggle.checked) toggle.checked = true;
    why.hidden = !moved;
  });
}
