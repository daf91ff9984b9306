// What the pages do beyond HTML: a chart's tooltip and arrow keys, copying, and looking again while nothing is there.
// Everything works without it.
"use strict";

// A chart's figures are read from its own table, row by row: they stand in the page once.
function enliven(chart) {
  const days = [...chart.querySelectorAll(".day")];
  const table = chart.parentElement.querySelector(".chart-table table");
  if (!days.length || !table) return;
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  chart.append(tip);
  chart.tabIndex = 0;
  chart.setAttribute("role", "group");
  chart.setAttribute("aria-label", "Chart: left and right arrow keys walk the days");
  let here = -1;

  function show(index, walked) {
    days[here]?.classList.remove("here");
    here = index;
    chart.classList.toggle("walked", walked);
    tip.hidden = index < 0;
    if (index < 0) return;
    days[index].classList.add("here");
    const [day, ...figures] = [...table.tBodies[0].rows[index].cells].map((cell) => cell.textContent);
    const title = document.createElement("b");
    title.textContent = day;
    const list = document.createElement("dl");
    figures.forEach((figure, column) => {
      const term = document.createElement("dt");
      const value = document.createElement("dd");
      term.textContent = names[column + 1];
      value.textContent = figure;
      list.append(term, value);
    });
    tip.replaceChildren(title, list);
    const x = (index / (days.length - 1)) * chart.clientWidth;
    const left = x > chart.clientWidth / 2 ? x - tip.offsetWidth - 14 : x + 14;
    tip.style.left = `${Math.max(0, left)}px`;
  }

  days.forEach((day, index) => {
    day.querySelector("title").remove();
    day.addEventListener("pointerenter", () => show(index, false));
  });
  chart.addEventListener("pointerleave", () => show(-1, false));
  chart.addEventListener("blur", () => show(-1, false));
  chart.addEventListener("keydown", (event) => {
    const last = days.length - 1;
    const start = here < 0 ? last + 1 : here;
    const target = {
      ArrowLeft: Math.max(0, start - 1),
      ArrowRight: here < 0 ? 0 : Math.min(last, here + 1),
      Home: 0,
      End: last,
      Escape: -1,
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

// Until the first event has arrived; a look that fails is followed by the next.
function lookAgain() {
  setTimeout(async () => {
    const answer = await fetch(location.href).catch(() => null);
    const page = answer?.ok ? await answer.text() : "data-waiting";
    if (page.includes("data-waiting")) lookAgain();
    else location.reload();
  }, 3000);
}

function closeOutside(menu) {
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") menu.open = false;
  });
}

document.querySelectorAll("[data-chart]").forEach(enliven);
document.querySelectorAll("[data-copy]").forEach(offerCopy);
document.querySelectorAll("details.account").forEach(closeOutside);
if (document.querySelector("[data-waiting]")) lookAgain();
