"use strict";
const each = (selector, use) => document.querySelectorAll(selector).forEach(use);

// Tables: sorted by a click on a head, filtered by words, whole by a tick.
each("th button", button => button.addEventListener("click", () => {
  const head = button.closest("th"), body = head.closest("table").tBodies[0];
  const down = head.getAttribute("aria-sort") === "ascending", column = head.cellIndex;
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const [u, v] = [Number(x), Number(y)], both = !isNaN(u) && !isNaN(v);
    return (down ? -1 : 1) * (both ? (u > v) - (u < v) : x.localeCompare(y));
  };
  body.append(...[...body.rows].sort(compare));
}));

function filter(sheet) {
  const words = sheet.querySelector("input[type=search]").value.toLowerCase().split(/\s+/).filter(Boolean);
  const table = sheet.querySelector("table"), rows = [...table.tBodies[0].rows];
  const names = [...table.tHead.rows[0].cells].map(head => head.dataset.name.toLowerCase());
  const told = cell => cell.textContent.trim().toLowerCase();
  const has = (row, word) => {
    const [name, wanted] = word.split("="), column = names.indexOf(name);
    if (wanted !== undefined && column >= 0) return told(row.cells[column]) === wanted;
    return told(row).includes(word);
  };
  for (const row of rows) row.hidden = !words.every(word => has(row, word));
  const left = rows.filter(row => !row.hidden).length;
  sheet.querySelector("output").textContent = (left < rows.length ? `${left} of ` : "") + `${rows.length} rows`;
}
each(".sheet", sheet => {
  sheet.querySelector("input[type=search]").addEventListener("input", () => filter(sheet));
  sheet.querySelector("input[type=checkbox]")?.addEventListener("change", event =>
    sheet.querySelector("table").classList.toggle("whole", event.target.checked));
});

// A mark or a link leads to the rows of its runs: all of them are coloured, and none is filtered out.
function choose(runs) {
  // A run that several machines have made has as many rows.
  const rows = runs.flatMap(run => [...document.querySelectorAll(`tr[data-run="${CSS.escape(run)}"]`)]);
  if (!rows.length) return;
  each("tr.chosen", row => row.classList.remove("chosen"));
  for (const row of rows) {
    row.classList.add("chosen");
    if (!row.hidden) continue;
    const sheet = row.closest(".sheet");
    sheet.querySelector("input[type=search]").value = "";
    filter(sheet);
  }
  rows[0].scrollIntoView({block: "center"});
}
let asked = null;
function go(runs, page) {
  if (page) location.href = `${page}#${runs[0]}`;
  else {
    asked = runs;
    if (location.hash === `#${runs[0]}`) arrive(); else location.hash = runs[0];
  }
}
function arrive() {
  const run = decodeURIComponent(location.hash.slice(1));
  choose(asked?.[0] === run ? asked : [run]);
  asked = null;
}
addEventListener("hashchange", arrive);
addEventListener("load", arrive);

// Pictures: plotly's, in the page's colours and as wide as the page.
const LEGEND_RIGHT = 800, LEGEND_ROW = 29, LETTER = 7.5;
// A title is as many lines as the page is narrow.
function wrap(axis, letters) {
  const lines = [""];
  for (const word of axis.title.text.split(" ")) {
    if (lines.at(-1).length + word.length > letters) lines.push("");
    lines.push(`${lines.pop()} ${word}`.trim());
  }
  return {...axis, title: {text: lines.join("<br>")}};
}
function draw(figure) {
  const panels = JSON.parse(figure.querySelector("script").textContent), place = figure.querySelector(".panel");
  const buttons = [...figure.querySelectorAll("button")];
  const panel = panels[Math.max(0, buttons.findIndex(button => button.ariaPressed === "true"))];
  const css = getComputedStyle(document.documentElement), colour = name => css.getPropertyValue(`--${name}`).trim();
  const width = place.clientWidth, beside = width >= LEGEND_RIGHT;
  const names = panel.data.filter(trace => trace.showlegend).map(trace => trace.name);
  const entry = Math.min(width - 50, LETTER * Math.max(0, ...names.map(name => name.length)));
  const columns = Math.max(1, Math.floor(width / (entry + 50))), rows = Math.ceil(names.length / columns) + 1;
  const below = beside ? 0 : LEGEND_ROW * rows, least = beside ? LEGEND_ROW * names.length + 100 : 0;
  const side = {gridcolor: colour("line"), linecolor: colour("line"), zerolinecolor: colour("line")};
  const legend = {title: {text: panel.note}, bgcolor: "rgba(0,0,0,0)", entrywidth: beside ? undefined : entry};
  Object.assign(legend, beside ? {} : {orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0});
  const layout = {
    ...panel.layout, width, height: Math.max(panel.layout.height, least) + below, legend, showlegend: true,
    xaxis: {...side, ...wrap(panel.layout.xaxis, (width - 80) / LETTER)}, yaxis: {...side, ...panel.layout.yaxis},
    paper_bgcolor: colour("back"), plot_bgcolor: colour("back"), font: {color: colour("text"), size: 12},
    margin: {l: 10, r: 10, t: 30, b: 50 + below}, hoverlabel: {align: "left"},
  };
  Plotly.react(place, panel.data, layout, {displaylogo: false, displayModeBar: beside ? "hover" : false});
  place.removeAllListeners("plotly_click");
  place.on("plotly_click", event => {
    const {data, customdata} = event.points[0], [runs, page] = data.meta ?? customdata.slice(1);
    if (runs) go(runs.split(" "), page);
  });
}
each(".plot", figure => {
  const buttons = [...figure.querySelectorAll("button")];
  for (const button of buttons) button.addEventListener("click", () => {
    for (const other of buttons) other.setAttribute("aria-pressed", other === button);
    draw(figure);
  });
  buttons[0]?.setAttribute("aria-pressed", true);
  draw(figure);
});
const again = () => each(".plot", draw);
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; again(); } });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
