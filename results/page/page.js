const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const DATA = JSON.parse($("#data").textContent);

// What every part of the page can do

let silence;
function say(words) {
  $("#said").textContent = words;
  clearTimeout(silence);
  silence = setTimeout(() => { $("#said").textContent = ""; }, 2500);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no permission, or an old browser
    const area = make("textarea", { value: text });
    (document.querySelector("dialog[open]") || document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say("Copied: " + (text.length > 60 ? text.slice(0, 60) + " …" : text));
}

function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const number = (value) => (Math.abs(value) >= 100 ? Math.round(value) : +value.toPrecision(3)) + 0; // + 0: no -0
const percent = (share) => `${number(100 * share)}\u00a0%`;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

document.addEventListener("click", (event) => {
  if (event.target.closest(".copy")) copy(DATA.commands.join("\n"));
});

// Dark and light

const remember = {
  get theme() { try { return localStorage.getItem("theme"); } catch { return null; } },
  set theme(value) { try { localStorage.setItem("theme", value); } catch { /* not from every file */ } },
};
if (remember.theme) document.documentElement.dataset.theme = remember.theme;
const system = matchMedia("(prefers-color-scheme: dark)");
const dark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
$("#theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = remember.theme = dark() ? "light" : "dark";
  $$(".chart[data-drawn]").forEach(draw);
});
system.addEventListener("change", () => $$(".chart[data-drawn]").forEach(draw));

// Charts: plotly.js is in the page compressed and is unpacked when the first one comes into view

let loading;
function plotly() {
  loading ??= (async () => {
    const bytes = Uint8Array.from(atob($("#plotly").textContent), (character) => character.charCodeAt(0));
    const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    document.head.append(make("script", { textContent: await new Response(unpacked).text() }));
  })();
  return loading;
}

// What a logarithmic axis needs: full numbers, and to know what it cannot show
const numbersOf = (figure, axis) => figure.data.flatMap((trace) => trace[axis] || []).filter(Number.isFinite);
function ticks(figure, axis) {
  const found = numbersOf(figure, axis).filter((value) => value > 0), few = Math.max(...found) / Math.min(...found) < 10;
  const digits = few ? [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9] : [1, 2, 5];
  const tickvals = Array.from({ length: 16 }, (_, i) => digits.map((digit) => +`${digit}e${i - 6}`)).flat();
  return { type: "log", tickvals, ticktext: tickvals.map(String), range: undefined };
}

const viewOf = (section) => DATA.charts[section.dataset.chart].views[$(".view", section)?.value || 0];

let printing = false;
async function draw(section) {
  if (!window.Plotly) await plotly(); // at once where it can: printing does not wait
  section.dataset.drawn = "";
  const { figure, name } = viewOf(section);
  const narrow = innerWidth < 640, many = figure.data.filter((trace) => trace.showlegend !== false).length > 3;
  const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--soft"), automargin: true };
  const layout = structuredClone(figure.layout);
  Object.assign(layout, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
    font: { color: colour("--ink"), family: "system-ui, sans-serif", size: narrow ? 11 : 13 },
    margin: { l: 55, r: 15, t: layout.legend ? 80 : 40, b: 50 }, hoverlabel: { namelength: -1 }, // t: the toolbar, and a legend under it
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--ink") },
    uirevision: name, width: printing ? 680 : undefined,
  });
  if (narrow && many) Object.assign(layout, { legend: { orientation: "h", y: -0.22, font: { size: 10 } }, height: layout.height + 140 });
  const left = [];
  for (const letter of ["x", "y"]) {
    const logarithmic = $(`.logarithmic[value=${letter}]`, section)?.checked, own = layout[`${letter}axis`], text = own?.title?.text;
    layout[`${letter}axis`] = { ...axis, ...own, ...(logarithmic ? ticks(figure, letter) : {}), uirevision: `${name} ${logarithmic}` };
    if (narrow && letter === "x" && text) layout.xaxis.title = { text: text.replace(/(.{1,44})(\s|$)/g, "$1<br>"), standoff: 5 };
    if (logarithmic && numbersOf(figure, letter).some((value) => value <= 0)) left.push(letter);
  }
  $(".left-out", section).textContent = left.length ? `Where ${left.join(" or ")} is 0 it is left out: a logarithmic axis has no place for it.` : "";
  const bar = { displayModeBar: "hover", displaylogo: false, modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d"] };
  const alone = { plotlyServerURL: "", showSendToCloud: false, showTips: false }; // nothing of a page is sent anywhere
  $(".plot", section).style.height = `${layout.height}px`; // held while the width changes, as for printing
  await Plotly.react($(".plot", section), structuredClone(figure.data), layout, { responsive: true, ...bar, ...alone });
}

if ($(".chart")) (window.requestIdleCallback || setTimeout)(() => plotly().catch(() => {})); // so that a page can be printed that was not looked through
for (const [event, now] of [["beforeprint", true], ["afterprint", false]]) {
  addEventListener(event, () => {
    printing = now;
    document.documentElement.dataset.theme = now ? "light" : remember.theme || "";
    $$(now ? ".chart" : ".chart[data-drawn]").forEach(draw);
  });
}
for (const scroll of $$(".scroll")) {
  new ResizeObserver(() => scroll.closest("figure").classList.toggle("wide", scroll.scrollWidth > scroll.clientWidth)).observe(scroll);
}

const drawn = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    drawn.unobserve(target);
    draw(target).catch((error) => { $(".plot", target).textContent = `This browser cannot draw the chart (${error.message}); its numbers are in the CSV.`; });
  }
}, { rootMargin: "300px" });
for (const section of $$(".chart")) {
  drawn.observe(section);
  section.addEventListener("change", () => draw(section));
  section.addEventListener("click", async ({ target }) => {
    if (!target.matches(".save")) return;
    const view = viewOf(section), name = `${DATA.title}_${section.dataset.chart}_${view.name}`.replace(/[^\w.-]+/g, "_");
    if (target.value === "csv") return save(`${name}.csv`, new Blob([view.csv], { type: "text/csv" }));
    await draw(section);
    Plotly.downloadImage($(".plot", section), { format: target.value, filename: name, width: 900, height: view.figure.layout.height || 480, scale: target.value === "png" ? 2 : 1 });
  });
}
