// What is seen and what can be done with it: folding, pan and zoom, search, hints.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const FONT = 'Helvetica, Arial, "Liberation Sans", "DejaVu Sans", sans-serif';

function make(name, attributes, parent, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return parent ? parent.appendChild(element) : element;
}

function tag(name, parent, text, kind) {
  const element = parent.appendChild(document.createElement(name));
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

function amount(value, unit) {
  for (const [scale, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= scale) return `${(value / scale).toFixed(scale === 1e3 && value >= 1e4 ? 1 : 2)} ${prefix}${unit}`;
  }
  return `${Math.round(value)} ${unit}`;
}

// ---------------------------------------------------------------------------------------------- boxes

let count = 0;
const root = { children: [], up: null, number: count++, depth: 0, first: 0 };
const frames = data.frames.map((frame) => ({ ...frame, children: [], number: count++, first: Infinity }));
for (const frame of frames) {
  frame.up = frame.up < 0 ? root : frames[frame.up];
  frame.depth = frame.up.depth + 1;
  frame.up.children.push(frame);
}
const nodes = data.nodes.map((node, i) => ({ ...node, up: node.frame < 0 ? root : frames[node.frame], number: count++, first: i }));
for (const node of nodes) {
  node.up.children.push(node);
  for (let at = node.up; at.up; at = at.up) at.first = Math.min(at.first, node.first);
}
for (const frame of frames) {
  if (frame.children.every((box) => box.family === "saved")) frame.first = -1; // what is kept stands left of its users
}
const byId = new Map(nodes.map((node) => [node.id, node]));
const edges = data.edges.map(([source, target, kind]) => ({ source: byId.get(source), target: byId.get(target), kind }));
const drawnAs = new Map(); // the items of a step -> nodes; a layer in columns is several
for (const node of nodes) (drawnAs.get(node.of) || drawnAs.set(node.of, []).get(node.of)).push(node);

const inside = (frame) => frame.children.flatMap((box) => (box.children ? inside(box) : [box]));
const folded = new Set();
const shownAs = (box) => chain(box).find((around) => folded.has(around)) || box;

/** The innermost modules are folded, level by level, until few enough nodes are left. */
function foldToLegible() {
  const visible = () => new Set(nodes.map(shownAs)).size;
  for (let depth = Math.max(0, ...frames.map((frame) => frame.depth)); depth > 0 && visible() > data.legible; depth--) {
    for (const frame of frames) if (frame.depth === depth) folded.add(frame);
  }
}

// ---------------------------------------------------------------------------------------------- drawing

const pen = document.createElement("canvas").getContext("2d");
function widthOf(text, style) {
  pen.font = `${style === "strong" ? "bold 12px" : style ? "11px" : "12px"} ${FONT}`;
  return pen.measureText(text).width;
}

/** The lines of a box: [[text, style], ...] each, a shape at the right. */
function linesOf(box) {
  if (box.children) {
    const all = inside(box), parameters = all.reduce((sum, node) => sum + node.sums[0], 0);
    const told = `${all.filter((node) => !node.leaf).length} operations`;
    return [[[box.name, "strong"], [box.about, "soft"]], [[parameters ? `${told} · ${parameters.toLocaleString("en")} parameters` : told, "soft"]]];
  }
  const [name, ...rest] = box.owner.split(" ");
  const lines = box.owner ? [[[name, "strong"], [rest.join(" "), "soft"]]] : [];
  lines.push([[box.title, box.leaf ? "" : "strong"], [box.shape, "shape"]]);
  return [...lines, ...box.lines.map((line) => [[line, "soft"]]), ...box.notes.map((note) => [[note, "note"]])];
}

const LINE = 16, SIDE = 11;
function size(box) {
  if (box.children && !folded.has(box)) return [widthOf(box.name, "strong") + widthOf(box.about, "soft") + 40, 0];
  const lines = linesOf(box);
  const widths = lines.map((parts) => parts.reduce((sum, [text, style]) => sum + (text ? widthOf(text, style) + 8 : 0), 0));
  return [Math.max(60, ...widths) + 2 * SIDE, lines.length * LINE + 8];
}

const stage = $("stage");
let links = [];
function draw() {
  stage.replaceChildren();
  if (!nodes.length) return;
  links = layout(root, edges, folded, size);
  const room = (box) => {
    for (const child of box.children) {
      if (!child.children || folded.has(child)) continue;
      drawFrame(child);
      room(child);
    }
  };
  room(root);
  for (const link of links) link.element = make("path", { class: `edge ${link.kind}`, d: lineOf(link) }, stage);
  for (const box of new Set(nodes.map(shownAs))) drawNode(box);
  search();
  walk();
}

function drawFrame(frame) {
  const kind = `frame ${frame.depth % 2 ? "odd" : ""} ${frame.times > 1 ? "repeated" : ""}`;
  const group = make("g", { class: kind }, stage);
  make("rect", { x: frame.x, y: frame.y, width: frame.w, height: frame.h, rx: 9 }, group);
  const head = make("g", { class: "head", tabindex: 0, "data-frame": frame.name }, group);
  make("rect", { x: frame.x, y: frame.y, width: frame.w, height: GAP.head - 4, fill: "transparent" }, head);
  const text = make("text", { x: frame.x + 9, y: frame.y + 13 }, head);
  make("tspan", { "font-weight": "bold" }, text, `\u25be ${frame.name} `);
  make("tspan", { fill: "var(--soft)" }, text, frame.about);
  pressed(head, () => fold(frame));
}

function drawNode(box) {
  const within = box.children ? inside(box) : [box];
  const some = (what) => (within.some((node) => node[what]) ? ` ${what}` : "");
  const kind = `node ${box.children ? "folded" : ""}${box.leaf ? "leaf" : ""}${some("broken")}${some("missing")}`;
  const group = (box.element = make("g", { class: kind, transform: `translate(${box.x},${box.y})` }, stage));
  const family = box.children ? "other" : box.family;
  make("rect", { width: box.w, height: box.h, rx: 7, style: `--fill:var(--${family}-fill);--line:var(--${family}-line)` }, group);
  const steps = within.map((node) => node.step).filter((step) => step !== undefined);
  if (steps.length) {
    const worst = steps.reduce((a, b) => (Math.abs(b - 4) > Math.abs(a - 4) ? b : a));
    make("rect", { x: 3, y: 5, width: 5, height: box.h - 10, rx: 2, class: "grade", style: `fill:var(--scale${worst})` }, group);
  }
  linesOf(box).forEach((parts, i) => {
    let x = SIDE;
    for (const [text, style] of parts) {
      if (!text) continue;
      make("text", { x: style === "shape" ? box.w - SIDE : x, y: 4 + LINE * (i + 0.5), class: style }, group, text);
      x += widthOf(text, style) + 6;
    }
  });
  group.addEventListener("pointerenter", (event) => hint(box, within, event));
  group.addEventListener("pointerleave", () => ($("tip").hidden = true));
  if (!box.children) return;
  group.setAttribute("tabindex", 0);
  group.setAttribute("data-frame", box.name);
  pressed(group, () => fold(box));
}

/** A click that was no drag, or Enter. */
function pressed(element, action) {
  element.addEventListener("click", () => moved || action());
  element.addEventListener("keydown", (event) => event.key === "Enter" && action());
}

function fold(frame) {
  const before = [frame.x, frame.y];
  if (!folded.delete(frame)) folded.add(frame);
  $("tip").hidden = true;
  draw();
  view.x += (before[0] - frame.x) * view.scale; // what was clicked stays where it is
  view.y += (before[1] - frame.y) * view.scale;
  look();
}

function hint(box, within, event) {
  const tip = $("tip");
  tip.replaceChildren();
  tag("b", tip, box.children ? `${box.name} ${box.about}` : [box.owner.split(" ")[0], box.title].filter(Boolean).join(" · "));
  const table = tag("table", tip);
  const total = (i) => within.reduce((sum, node) => sum + node.sums[i], 0);
  const facts = box.children
    ? [["operations", within.filter((node) => !node.leaf).length], ["parameters", total(0).toLocaleString("en")],
      ["MACs", amount(total(1), "")], ["keeps", amount(total(2), "B")]]
    : box.tip;
  for (const [name, value] of facts) {
    const row = tag("tr", table);
    tag("td", row, name);
    tag("td", row, String(value));
  }
  for (const note of within.flatMap((node) => node.notes).slice(0, 6)) tag("em", tip, note);
  tip.hidden = false;
  const place = $("graph").getBoundingClientRect();
  const x = event.clientX - place.left + 16, y = event.clientY - place.top + 16;
  tip.style.left = `${Math.max(0, Math.min(x, place.width - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(0, Math.min(y, place.height - tip.offsetHeight - 8))}px`;
}

// ---------------------------------------------------------------------------------------------- pan and zoom

const view = { x: 0, y: 0, scale: 1 };
const look = () => stage.setAttribute("transform", `translate(${view.x},${view.y}) scale(${view.scale})`);

function fit() {
  const { width, height } = $("graph").getBoundingClientRect();
  view.scale = Math.min(1.4, (width - 24) / root.w, (height - 24) / root.h);
  view.x = (width - root.w * view.scale) / 2;
  view.y = Math.max(12, (height - root.h * view.scale) / 2);
  look();
}

/** At first so large that it can be read, from its top. */
function begin() {
  const { width } = $("graph").getBoundingClientRect();
  fit();
  if (view.scale < 0.8) {
    view.scale = 0.8;
    view.x = Math.max(12, (width - root.w * view.scale) / 2);
    view.y = 12;
    look();
  }
}

function zoom(factor, x, y) {
  const scale = Math.min(4, Math.max(0.02, view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  look();
}

function centre(box) {
  const { width, height } = $("graph").getBoundingClientRect();
  view.x = width / 2 - (box.x + box.w / 2) * view.scale;
  view.y = height / 2 - (box.y + box.h / 2) * view.scale;
  look();
}

let grip = null, moved = false;
$("graph").addEventListener("pointerdown", (event) => {
  grip = [event.clientX - view.x, event.clientY - view.y, event.clientX, event.clientY];
  moved = false;
});
window.addEventListener("pointermove", (event) => {
  if (!grip) return;
  moved = moved || Math.hypot(event.clientX - grip[2], event.clientY - grip[3]) > 4;
  if (!moved) return;
  $("graph").classList.add("held");
  [view.x, view.y] = [event.clientX - grip[0], event.clientY - grip[1]];
  look();
});
window.addEventListener("pointerup", () => {
  grip = null;
  $("graph").classList.remove("held");
});
$("graph").addEventListener("wheel", (event) => {
  event.preventDefault();
  const place = $("graph").getBoundingClientRect();
  zoom(Math.exp(-event.deltaY / 400), event.clientX - place.left, event.clientY - place.top);
}, { passive: false });

// ---------------------------------------------------------------------------------------------- search

let hits = [], hit = 0;
function search() {
  const word = $("search").value.trim().toLowerCase();
  const texts = (node) => [node.title, node.owner, node.shape, ...node.lines, ...chain(node).map((box) => box.name || "")];
  hits = word ? nodes.filter((node) => texts(node).join("\n").toLowerCase().includes(word)) : [];
  const marked = new Set(hits.map(shownAs));
  for (const box of new Set(nodes.map(shownAs))) box.element.classList.toggle("hit", marked.has(box));
  $("found").textContent = word ? String(hits.length) : "";
}

function toNextHit() {
  if (!hits.length) return;
  const node = hits[hit++ % hits.length];
  for (const around of chain(node)) folded.delete(around);
  draw();
  centre(node);
}
