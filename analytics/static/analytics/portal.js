// What the pages do beyond HTML: a chart's tooltip and arrow keys, copying, keys, and figures that stay fresh.
// Everything works without it.
"use strict";

// -- Charts: a chart's figures are read from its own table, row by row: they stand in the page once -------------------

function enliven(chart) {
  const steps = [...chart.querySelectorAll(".day")];
  const table = chart.parentElement.querySelector(".chart-table table");
  if (!steps.length || !table) return;
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  chart.append(tip);
  chart.tabIndex = 0;
  chart.setAttribute("role", "group");
  chart.setAttribute("aria-label", "Chart: left and right arrow keys walk it");
  let here = -1;

  function show(index, walked) {
    steps[here]?.classList.remove("here");
    here = index;
    chart.classList.toggle("walked", walked);
    tip.hidden = index < 0;
    if (index < 0) return;
    steps[index].classList.add("here");
    const [step, ...figures] = [...table.tBodies[0].rows[index].cells].map((cell) => cell.textContent);
    const title = document.createElement("b");
    title.textContent = step;
    const list = document.createElement("dl");
    figures.forEach((figure, column) => {
      const term = document.createElement("dt");
      const value = document.createElement("dd");
      term.textContent = names[column + 1];
      value.textContent = figure;
      list.append(term, value);
    });
    tip.replaceChildren(title, list);
    const box = steps[index].getBoundingClientRect();
    const x = box.left + box.width / 2 - chart.getBoundingClientRect().left;
    const left = x > chart.clientWidth / 2 ? x - tip.offsetWidth - 14 : x + 14;
    tip.style.left = `${Math.max(0, left)}px`;
  }

  steps.forEach((step, index) => step.addEventListener("pointerenter", () => show(index, false)));
  chart.addEventListener("pointerleave", () => show(-1, false));
  chart.addEventListener("blur", () => show(-1, false));
  chart.addEventListener("keydown", (event) => {
    const last = steps.length - 1;
    const start = here < 0 ? last + 1 : here;
    const target = {
      ArrowLeft: Math.max(0, start - 1),
      ArrowRight: here < 0 ? 0 : Math.min(last, here + 1),
      Home: 0,
      End: last,
      Escape: here < 0 ? undefined : -1,
    }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    show(target, true);
  });
}

function offerCopy(button) {
  if (!navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}

function bringToLife(part) {
  part.querySelectorAll("[data-chart]").forEach(enliven);
  part.querySelectorAll("[data-copy]").forEach(offerCopy);
}

// -- Fresh figures: only what changed is fetched, and put in its place while nobody is busy with it -------------------

const BUSY = ".tip:not([hidden]), .day:hover";

function keepFresh(figures) {
  const again = (seconds) => setTimeout(look, 1000 * seconds);
  const pause = Number(figures.dataset.pollSeconds);

  async function look() {
    if (document.hidden || figures.querySelector(BUSY)) return again(Math.min(pause, 2));
    const url = new URL(location.href);
    url.searchParams.set("fragment", figures.dataset.shown);
    const answer = await fetch(url, { redirect: "manual" }).catch(() => null);
    if (answer?.status === 200) await put(await answer.text());
    if (answer?.type !== "opaqueredirect") again(pause); // else logged out
  }

  async function put(text) {
    const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("[data-fragment]");
    if (!fresh) return;
    if (fresh.dataset.state !== figures.dataset.state) return location.reload();
    const open = [...figures.querySelectorAll("details[open][id]")].map((details) => details.id);
    const scrolled = [...figures.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
    const focused = place(document.activeElement);
    figures.replaceChildren(fresh);
    figures.dataset.shown = fresh.dataset.fragment;
    open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
    figures.querySelectorAll(".scroll").forEach((box, index) => box.scrollTo(...(scrolled[index] ?? [0, 0])));
    bringToLife(figures);
    if (focused) figures.querySelectorAll(focused.selector)[focused.index]?.focus({ preventScroll: true });
  }

  // Where something that has the focus stands among its like.
  function place(element) {
    if (!figures.contains(element)) return null;
    const selector = element.hasAttribute("href") ? `a[href="${CSS.escape(element.getAttribute("href"))}"]` : "[tabindex], summary, button";
    return { selector, index: [...figures.querySelectorAll(selector)].indexOf(element) };
  }

  again(pause);
}

// -- Menus and keys ---------------------------------------------------------------------------------------------------

function closeOutside(menu) {
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
    event.preventDefault();
  });
}

function followKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  const link = document.querySelector(`[data-key="${CSS.escape(event.key.length === 1 ? event.key.toLowerCase() : event.key)}"]`);
  if (link) link.click();
}

// On a narrow screen the pages are a row that scrolls.
function showCurrent(pages) {
  const current = pages.querySelector("[aria-current]");
  if (current) pages.scrollLeft = current.offsetLeft - (pages.clientWidth - current.offsetWidth) / 2;
}

bringToLife(document);
document.querySelectorAll("#pages").forEach(showCurrent);
document.querySelectorAll("details.account, details.menu").forEach(closeOutside);
document.addEventListener("keydown", followKey);
document.querySelectorAll("[data-poll-seconds]").forEach(keepFresh);
