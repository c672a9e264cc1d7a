if (!$("#grid")) return;

// Pictures: a map is the place of each pixel in the order of importance, and its values at some places

const lut = Object.fromEntries(Object.entries(DATA.palettes).map(([name, text]) => [name, Uint8Array.from(text.match(/../g), (byte) => parseInt(byte, 16))]));
const permutations = new Map();
function permutation(n) { // a fixed shuffle: which of the pixels that tie comes first
  if (!permutations.has(n)) {
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1, state = 12345; i > 0; i--) {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      const j = state % (i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    permutations.set(n, order);
  }
  return permutations.get(n);
}

const canvasOf = (width, height) => Object.assign(document.createElement("canvas"), { width, height });
async function decoded(text, type) {
  const image = new Image();
  image.src = `data:image/${type};base64,${text}`;
  await image.decode();
  return image;
}
async function greys(text) {
  const image = await decoded(text, "png"), canvas = canvasOf(image.width, image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  return { width: image.width, height: image.height, values: data.filter((_, i) => i % 4 === 0) };
}

const kept = new Map(); // pictures of rows in view, decoded
const stored = (row) => JSON.parse($(`#pictures-${row}`).textContent);
async function pictures(row, column) {
  const key = `${row} ${column}`;
  if (!kept.has(key)) kept.set(key, load(row, column));
  return kept.get(key);
}
async function load(row, column) {
  const all = stored(row), found = {}, wanted = column === null ? null : DATA.columns[column].photograph;
  const photograph = all.photographs?.[wanted] || Object.values(all.photographs || {})[0];
  if (photograph) found.photograph = await decoded(photograph, "webp");
  if (column === null) return found;
  if (all.maps?.[column]) {
    const [text, values] = all.maps[column], levels = await greys(text), n = levels.values.length;
    const start = new Uint32Array(257);
    for (const level of levels.values) start[256 - level]++;
    for (let i = 1; i < 257; i++) start[i] += start[i - 1];
    const place = new Uint32Array(n); // 0 for the most important
    for (const i of permutation(n)) place[i] = start[255 - levels.values[i]]++;
    Object.assign(found, { levels, place, values });
  }
  if (all.masks?.[column]) {
    const [text, shares, steps] = all.masks[column];
    Object.assign(found, { film: await greys(text), shares, steps });
  }
  return found;
}

function layer(context, side, fill, smooth) { // draw an RGBA picture of side x side over the whole canvas
  const canvas = canvasOf(side, side), own = canvas.getContext("2d"), image = own.createImageData(side, side);
  fill(image.data);
  own.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = smooth;
  context.drawImage(canvas, 0, 0, context.canvas.width, context.canvas.height);
}

function paint(canvas, found, { view, share, state }, fill) {
  const { photograph } = found;
  canvas.width = photograph.width; canvas.height = photograph.height;
  canvas.classList.toggle("pixels", photograph.width < 100);
  const context = canvas.getContext("2d");
  context.drawImage(photograph, 0, 0);
  if (view === "map" && found.levels && found.values.at(-1)) {
    context.globalCompositeOperation = "saturation";
    context.fillStyle = "#808080";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = "source-over";
    context.globalAlpha = 0.62;
    const colours = lut[$("#palette").value], { levels, values } = found, knots = values.length - 1;
    layer(context, levels.width, (data) => levels.values.forEach((level, i) => {
      const at = (level / 255) * knots, low = Math.floor(at), high = Math.min(low + 1, knots);
      const value = Math.round(values[low] + (values[high] - values[low]) * (at - low));
      data.set(colours.subarray(3 * value, 3 * value + 3), 4 * i);
      data[4 * i + 3] = 255;
    }), canvas.width >= 100);
    context.globalAlpha = 1;
  } else if (view === "top" && found.place) {
    const keep = Math.round(share * found.place.length), shade = fill === "black" ? 0 : 128;
    layer(context, found.levels.width, (data) => found.place.forEach((place, i) => {
      data.fill(shade, 4 * i, 4 * i + 3);
      data[4 * i + 3] = place < keep ? 0 : 255;
    }), false);
  } else if (view === "mask" && found.film) {
    const { width, values } = found.film, from = width * width * (state ?? found.shares.length - 1);
    layer(context, width, (data) => {
      for (let i = 0; i < width * width; i++) data[4 * i + 3] = values[from + i] ? 0 : 215;
    }, false);
  }
}

// The gallery: a row is built when it comes near the window and emptied when it leaves

const shares = [...new Set(DATA.columns.flatMap((column) => column.shares))].sort((a, b) => a - b);
const stops = shares.length ? shares : Array.from({ length: 101 }, (_, i) => i / 100);
const settings = { view: "map", stop: Math.max(0, stops.findIndex((share) => share >= 0.1)) };
const columns = new Set(DATA.columns.keys());
const shownColumns = () => [...columns].sort((a, b) => a - b);
let shownRows = [];

function decision(row, column, share) { // true: the class of the whole image; undefined: not measured
  const text = DATA.rows[row].cells[column]?.consistency, at = DATA.columns[column].shares.indexOf(share);
  return text && at >= 0 ? text[at] === "1" : undefined;
}

function missing(found, view) { // what there is instead of a picture; of a constant map the last value is 0, of another 255
  if (!found.photograph) return view === "photograph" ? "no photograph" : "no map";
  if (view === "mask") return found.film ? "" : "no mask";
  if (view !== "photograph" && !found.levels) return "no map";
  return view === "map" && !found.values.at(-1) ? "constant map" : "";
}

const marked = (name, value, status) => [value === undefined ? "" : `${name} ${percent(value)}`, value === undefined || status !== "ok" ? status : ""].filter(Boolean).join(", ");
function fact(row, column) {
  const cell = DATA.rows[row].cells[column] || {};
  if (cell.failed) return ["", cell.status];
  if (settings.view === "mask") return ["", cell.numbers?.mar === undefined ? "" : marked("MAR of the mask", cell.numbers?.mar, cell.status)];
  if (settings.view === "top") {
    const held = decision(row, column, stops[settings.stop]);
    return held === undefined ? ["", "decision not measured"] : held ? ["kept", "✓ class kept"] : ["lost", "✗ class lost"];
  }
  const ranking = cell.numbers?.mar_holds !== undefined; // which every method has, where it was measured
  return ["", marked(ranking ? "MAR of the ranking" : "MAR of the mask", ranking ? cell.numbers?.mar_holds : cell.numbers?.mar, cell.status)];
}

const aboutRow = (row) => Object.values(DATA.rows[row].cells)[0] || {};
function words(row, column = null) {
  const cell = column === null ? aboutRow(row) : DATA.rows[row].cells[column] || aboutRow(row);
  const sure = cell.confidence === null || cell.confidence === undefined ? "" : ` ${cell.confidence.toFixed(2)}`;
  return `${cell.prediction ?? "no prediction"}${sure}${cell.label && cell.label !== cell.prediction ? ` (label: ${cell.label})` : ""}`;
}

function cellOf(row, column) {
  const canvas = make("canvas", { width: 1, height: 1 }), name = column === null ? words(row) : DATA.columns[column].name;
  const button = make("button", { type: "button", className: "cell" }, canvas, make("div", { className: "none", hidden: true }), make("div", { className: "badge", hidden: true }), make("span", { textContent: name, title: name }), make("span", { className: "fact" }));
  Object.assign(button.dataset, { row, column: column ?? "" });
  if (column === null) button.classList.add("photograph");
  return button;
}

async function refresh(button) {
  const row = +button.dataset.row, column = button.dataset.column === "" ? null : +button.dataset.column;
  const [state, text] = column === null ? ["", DATA.rows[row].id] : fact(row, column);
  button.classList.toggle("kept", state === "kept");
  button.classList.toggle("lost", state === "lost");
  const status = column === null ? "ok" : DATA.rows[row].cells[column]?.status.split(":")[0] ?? "ok";
  Object.assign($(".badge", button), { hidden: status === "ok", textContent: status.replaceAll("_", " ") });
  Object.assign($(".fact", button), { textContent: text.replaceAll("_", "_\u200b"), title: text }); // lines may end after _
  const what = column === null ? "photograph" : { map: "map", top: `top ${percent(stops[settings.stop])}`, mask: "final mask" }[settings.view];
  button.setAttribute("aria-label", `${DATA.rows[row].id}, ${words(row, column)}, ${column === null ? "" : DATA.columns[column].name + ", "}${what}. ${column === null ? "" : text}`);
  const found = await pictures(row, column), view = column === null ? "photograph" : settings.view, none = missing(found, view);
  Object.assign($(".none", button), { hidden: !none, textContent: none });
  $("canvas", button).hidden = !!none;
  if (!none) paint($("canvas", button), found, { view, share: stops[settings.stop] }, column === null ? "" : DATA.columns[column].fill);
}

function build(row) {
  const element = $(`#row-${row}`);
  if (!element || element.childElementCount) return;
  element.style.height = "";
  element.append(cellOf(row, null), ...shownColumns().map((column) => cellOf(row, column)));
  $$(".cell", element).forEach(refresh);
}

const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    const row = +target.id.slice(4);
    if (isIntersecting) build(row);
    else if (!target.contains(document.activeElement)) {
      target.style.height = `${target.offsetHeight}px`; // its texts may take more lines than another row's
      target.replaceChildren();
      for (const key of [...kept.keys()]) if (key.startsWith(`${row} `) && !$("#large").open) kept.delete(key);
    }
  }
}, { rootMargin: "400px 0px" });

function meanMar(row, spread = false) {
  const found = shownColumns().map((column) => DATA.rows[row].cells[column]).map((cell) => cell?.numbers.mar_holds ?? cell?.numbers.mar).filter((value) => value !== undefined);
  if (!found.length) return NaN;
  return spread ? Math.max(...found) - Math.min(...found) : found.reduce((a, b) => a + b) / found.length;
}

function arrange() {
  const text = $("#search").value.trim().toLowerCase(), [klass, status, right, sort] = ["#class", "#status", "#right", "#sort"].map((id) => $(id).value);
  shownRows = [...DATA.rows.keys()].filter((row) => {
    const cells = Object.entries(DATA.rows[row].cells).filter(([column]) => columns.has(+column)).map(([, cell]) => cell);
    const about = aboutRow(row);
    return (!text || `${DATA.rows[row].id} ${about.label} ${about.prediction}`.toLowerCase().includes(text))
      && (!klass || cells.some((cell) => cell.prediction === klass || cell.label === klass))
      && (!status || cells.some((cell) => cell.status.split(":")[0] === status))
      && (!right || (about.label && (about.label === about.prediction) === (right === "right")));
  });
  const value = { disagreement: (row) => -DATA.rows[row].disagreement, least: meanMar, most: (row) => -meanMar(row), spread: (row) => -meanMar(row, true) }[sort];
  const last = (number) => (Number.isFinite(number) ? number : Infinity);
  if (value) {
    const keys = new Map(shownRows.map((row) => [row, last(value(row))]));
    shownRows.sort((a, b) => (keys.get(a) === keys.get(b) ? a - b : keys.get(a) - keys.get(b)));
  }
  near.disconnect();
  $("#grid").replaceChildren(...shownRows.map((row) => make("div", { className: "row", id: `row-${row}` })));
  $$("#grid .row").forEach((element) => near.observe(element));
  $("#count").textContent = `${shownRows.length} of ${DATA.rows.length} images, ${columns.size} of ${DATA.columns.length} columns`;
}

const visible = () => $$("#grid .cell").forEach(refresh);
function setStop(stop) {
  settings.stop = Math.min(Math.max(stop, 0), stops.length - 1);
  const share = percent(stops[settings.stop]);
  for (const id of ["#share", "#large-share"]) {
    $(id).value = settings.stop;
    $(id).setAttribute("aria-valuetext", share);
    $(`${id}-value`).textContent = share;
  }
}
function setView(view) {
  settings.view = view;
  $("#share").disabled = view !== "top";
  const radio = $(`#controls input[value="${view}"]`);
  if (radio) radio.checked = true;
}

for (const id of ["#share", "#large-share"]) Object.assign($(id), { min: 0, max: stops.length - 1, step: 1 });
setStop(settings.stop);
setView(settings.view);
const values = (get) => [...new Set(DATA.rows.flatMap((row) => Object.values(row.cells).flatMap(get)).filter(Boolean))].sort();
$("#class").append(...values((cell) => [cell.label, cell.prediction]).map((name) => make("option", { textContent: name })));
$("#status").append(...values((cell) => cell.status.split(":")[0]).map((name) => make("option", { textContent: name })));
$("#palette").append(...Object.keys(DATA.palettes).map((name) => make("option", { textContent: name })));
$("#columns").append(...DATA.columns.map((column, i) => make("label", {}, make("input", { type: "checkbox", value: i, checked: true }), column.name)));
$("#controls").addEventListener("submit", (event) => event.preventDefault());
$("#controls").addEventListener("input", ({ target }) => {
  if (target.id === "share") {
    setStop(+target.value);
    visible();
  } else if (target.name === "view") {
    setView(target.value);
    visible();
  } else if (target.id === "palette") {
    visible();
  } else {
    if (target.type === "checkbox") columns[target.checked ? "add" : "delete"](+target.value);
    arrange();
  }
});

// Printing: what is out of sight is built first, as many rows as a printer should be asked for

const MOST_PRINTED = 100;
$("#print").addEventListener("click", async () => {
  near.disconnect();
  const rows = shownRows.slice(0, MOST_PRINTED);
  $$("#grid .row").slice(rows.length).forEach((element) => element.remove());
  for (const row of rows) {
    build(row);
    await Promise.all($$(".cell", $(`#row-${row}`)).map(refresh));
  }
  if (rows.length < shownRows.length) say(`The first ${rows.length} of ${shownRows.length} images are printed: narrow the choice for others`);
  document.body.classList.add("printing-gallery");
  print();
});
addEventListener("afterprint", () => {
  if (document.body.classList.contains("printing-gallery")) {
    document.body.classList.remove("printing-gallery");
    arrange();
  }
});

// Keys in the gallery, and the enlarged picture

async function focus(row, column) {
  const element = $(`#row-${row}`);
  if (!element) return;
  build(row);
  const cell = $(`.cell[data-column="${column}"]`, element) || $(".cell", element);
  cell.focus({ preventScroll: true });
  cell.scrollIntoView({ block: "nearest", inline: "nearest" });
}
const order = () => ["", ...shownColumns()];
function neighbour(row, column, across, down) {
  const at = shownRows.indexOf(row), along = order();
  const there = along.indexOf(column === "" ? "" : +column);
  return [shownRows[Math.min(Math.max(at + down, 0), shownRows.length - 1)], along[Math.min(Math.max(there + across, 0), along.length - 1)]];
}
const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
$("#grid").addEventListener("keydown", (event) => {
  if (!moves[event.key]) return;
  const cell = event.target.closest(".cell");
  if (!cell && !shownRows.length) return;
  event.preventDefault();
  focus(...(cell ? neighbour(+cell.dataset.row, cell.dataset.column, ...moves[event.key]) : [shownRows[0], ""]));
});
$("#grid").addEventListener("click", ({ target }) => {
  const cell = target.closest(".cell");
  if (cell) enlarge(+cell.dataset.row, cell.dataset.column);
});

const large = { row: 0, column: "", view: "map", state: 0 };
async function enlarge(row, column, keep = false) {
  Object.assign(large, { row, column, view: column === "" ? "photograph" : keep && large.view !== "photograph" ? large.view : settings.view, state: null });
  const found = await pictures(row, column === "" ? null : +column);
  if (large.row !== row || large.column !== column) return; // another was asked for meanwhile
  const cell = column === "" ? aboutRow(row) : DATA.rows[row].cells[column] || {};
  $("#large-title").textContent = [DATA.rows[row].id, column === "" ? "" : DATA.columns[column].name, words(row, column === "" ? null : column)].filter(Boolean).join(" · ");
  for (const option of $("#large-view").options) option.disabled = (option.value === "mask" && !found.film) || (["map", "top"].includes(option.value) && !found.levels);
  const states = found.film ? found.steps.length : 0;
  $("#walk").hidden = states < 2;
  $("#no-walk").textContent = found.film && states < 2 ? cell.status === "nothing_accepted" ? "No state was accepted: the mask is the whole image." : "Of this walk the final mask is shown; its states are not in the page." : "";
  Object.assign($("#state"), { max: Math.max(states - 1, 0), value: Math.max(states - 1, 0) });
  const numbers = [["status", cell.status], ...Object.entries(DATA.names).map(([name, title]) => [title, cell.numbers?.[name] === undefined ? undefined : name.startsWith("mar") ? percent(cell.numbers[name]) : number(cell.numbers[name])])];
  const disagreement = DATA.rows[row].disagreement;
  if (disagreement !== null) numbers.push(["disagreement of maps", disagreement.toFixed(2)]);
  $("#numbers").replaceChildren(...(column === "" ? numbers.slice(-1) : numbers).filter(([, value]) => value !== undefined).flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value })]));
  redraw();
  if (!$("#large").open) $("#large").showModal();
}
async function redraw() {
  const { row, column } = large, found = await pictures(row, column === "" ? null : +column);
  if (!found.photograph) return;
  if ((large.view === "mask" && !found.film) || (["map", "top"].includes(large.view) && !found.levels)) large.view = found.levels ? "map" : "photograph";
  $("#large-view").value = large.view;
  $("#large-share").disabled = large.view !== "top";
  const share = stops[settings.stop], held = column === "" ? undefined : decision(row, column, share);
  paint($("#picture"), found, { ...large, share }, column === "" ? "" : DATA.columns[column].fill);
  const state = large.state ?? (found.shares ? found.shares.length - 1 : 0);
  if (found.steps?.length) $("#state-value").textContent = `${state + 1} of ${found.steps.length}: step ${found.steps[state] + 1}, ${percent(found.shares[state])}`;
  let said = "";
  if (large.view === "top") said = `At the top ${percent(share)}: ` + (held === undefined ? "decision not measured" : held ? "the class is kept" : "the class is lost");
  if (large.view === "mask") said = `${percent(found.shares[state])} of the image${found.steps.length > 1 ? `, after step ${found.steps[state] + 1}` : ", the final mask"}`;
  if (large.view === "map") said = missing(found, "map");
  $("#decision").textContent = said;
  $("#decision").className = large.view === "top" && held !== undefined ? (held ? "kept" : "lost") : "";
  $("#picture").setAttribute("aria-label", `${$("#large-title").textContent}, ${large.view}. ${said}`);
}
const moveLarge = (across, down) => enlarge(...neighbour(large.row, large.column, across, down), true);
$("#large").addEventListener("keydown", (event) => {
  if (event.target.matches("input, select") && event.key.startsWith("Arrow")) return; // the slider's own
  if (moves[event.key]) moveLarge(...moves[event.key]);
  else if ("+=-−".includes(event.key)) {
    setStop(settings.stop + ("+=".includes(event.key) ? 1 : -1));
    large.view = "top";
    redraw();
  } else return;
  event.preventDefault();
});
$("#large").addEventListener("input", ({ target }) => {
  if (target.id === "large-share") setStop(+target.value);
  if (target.id === "state") { large.state = +target.value; large.view = "mask"; }
  if (target.id === "large-view") large.view = target.value;
  redraw();
});
$("#large").addEventListener("click", (event) => {
  const move = event.target.dataset?.move;
  if (move) moveLarge(...move.split(" ").map(Number));
  if (event.target.id === "close" || event.target === $("#large")) $("#large").close();
  if (event.target.id === "save-picture") {
    const name = `${DATA.rows[large.row].id}_${large.column === "" ? "photograph" : DATA.columns[large.column].name}_${large.view}.png`.replace(/[^\w.-]+/g, "_");
    $("#picture").toBlob((blob) => save(name, blob));
  }
});
$("#large").addEventListener("close", () => { visible(); focus(large.row, large.column); });

arrange();
