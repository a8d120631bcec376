// The walk through a training step, the curve of its memory, and the start of it all.


const steps = data.steps, slider = $("slider");
const boxesOf = (step) => [...new Set(step.at.flatMap((id) => drawnAs.get(id) || []).map(shownAs))];

/** Marks what step `slider.value` computes, what was computed before it, and what is kept meanwhile; 0 is before the walk. */
function walk() {
  if (!steps.length) return;
  const now = Number(slider.value);
  stage.classList.toggle("walking", now > 0);
  for (const pill of stage.querySelectorAll(".pill")) pill.remove();
  for (const box of new Set(nodes.map(shownAs))) box.element.classList.remove("done", "now", "pulled", "pulling");
  const kept = new Map();
  steps.slice(0, now).forEach((step, i) => {
    const held = !step.back && steps.length - i >= now; // its own backward step has not been
    const boxes = boxesOf(step);
    for (const box of boxes) {
      box.element.classList.add(step.back ? "pulled" : "done");
      if (held && step.size) kept.set(box, (kept.get(box) || 0) + step.size / boxes.length);
      if (i === now - 1) box.element.classList.add("now", ...(step.back ? ["pulling"] : []));
    }
  });
  for (const [box, bytes] of kept) drawPill(box, amount(bytes, "B"));
  tell(now);
}

function drawPill(box, text) {
  const width = widthOf(text, "soft") + 10;
  const pill = make("g", { class: "pill", transform: `translate(${box.w + width / 2 + 3},${box.h / 2})` }, box.element);
  make("rect", { x: -width / 2, y: -8, width, height: 15, rx: 7 }, pill);
  make("text", { y: 0 }, pill, text);
}

function tell(now) {
  const told = $("told"), turn = steps.findIndex((step) => step.back);
  told.replaceChildren();
  $("where").textContent = now ? `step ${now} of ${steps.length}, ${now > turn ? "backward" : "forward"}` : `${steps.length} steps`;
  $("memory").querySelector(".now").setAttribute("transform", `translate(${now - 0.5},0)`);
  if (!now) {
    tag("span", told, "Move the slider, or press play: the forward pass, then the backward pass, as the engine runs them.");
    return;
  }
  const step = steps[now - 1], box = (drawnAs.get(step.at[0]) || [])[0];
  const owner = box ? box.owner.split(" ")[0] || chain(box).at(-2)?.name || "" : "";
  tag("b", told, `${step.back ? "pulls back through" : "computes"} ${owner || (box ? box.title : "")}: `);
  tag("span", told, step.computed);
  tag("br", told);
  if (step.kept) tag("span", told, `kept: ${step.kept}   `, "kept");
  if (step.freed) tag("span", told, `freed: ${step.freed}   `, "freed");
  tag("span", told, `alive: ${amount(step.alive, "B")}, of it for the backward pass ${amount(step.held, "B")}`);
}

function drawMemory() {
  const top = Math.max(1, ...steps.map((step) => step.alive)), n = steps.length, curve = $("memory");
  curve.setAttribute("viewBox", `0 0 ${n} 100`);
  for (const what of ["alive", "held"]) {
    const tops = steps.map((step, i) => `L${i},${100 - (96 * step[what]) / top}H${i + 1}`).join("");
    make("path", { class: what, d: `M0,100${tops}V100Z` }, curve);
  }
  const turn = steps.findIndex((step) => step.back);
  make("path", { class: "turn", d: `M${turn},0V100` }, curve);
  make("path", { class: "now", d: "M0,0V100", transform: "translate(-9,0)" }, curve);
  curve.addEventListener("click", (event) => {
    const place = curve.getBoundingClientRect();
    go(1 + Math.floor((n * (event.clientX - place.left)) / place.width));
  });
  const peak = steps.findIndex((step) => step.alive === top);
  const axis = $("axis"), legend = tag("span", axis, `peak ${amount(top, "B")} at step ${peak + 1}`);
  for (const [colour, text] of [["saved-line", "kept for the backward pass"], ["frame", "results, and gradients on their way"]]) {
    tag("i", legend).style.background = `var(--${colour})`;
    legend.append(text);
  }
  tag("span", axis, "forward | backward; parameters, their gradients and the kernels' own memory are not counted");
}

function go(step) {
  slider.value = Math.max(0, Math.min(steps.length, step));
  follow();
}

/** Walks, and moves the picture where the step would be out of sight. */
function follow() {
  walk();
  const step = steps[Number(slider.value) - 1], box = step && boxesOf(step)[0];
  if (!box) return;
  const { width, height } = $("graph").getBoundingClientRect();
  const [x, y] = [view.x + (box.x + box.w / 2) * view.scale, view.y + (box.y + box.h / 2) * view.scale];
  if (x < 40 || y < 40 || x > width - 40 || y > height - 40) centre(box);
}

let playing = 0;
function play() {
  if (playing) {
    clearInterval(playing);
    playing = 0;
  } else {
    if (Number(slider.value) >= steps.length) go(0);
    playing = setInterval(() => (Number(slider.value) < steps.length ? go(Number(slider.value) + 1) : play()), Math.max(60, Math.min(700, 3e4 / steps.length)));
  }
  $("play").textContent = playing ? "pause" : "play";
}

// ---------------------------------------------------------------------------------------------- starting

function legend() {
  for (const [family, label] of data.families) {
    const part = tag("span", $("legend"));
    const box = tag("i", part);
    box.style.cssText = `background:var(--${family}-fill);border-color:var(--${family}-line)`;
    part.append(label);
  }
  if (!data.scale) return;
  const part = tag("span", $("legend"), "gradients: vanishing ", "scale");
  for (let i = 0; i < 9; i++) tag("i", part).style.background = `var(--scale${i})`;
  part.append(" exploding; minimum … mean … maximum on pointing");
}

function dark() {
  const now = document.documentElement.dataset.theme;
  const night = now === "dark" || (now === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = night ? "light" : "dark";
}

function start() {
  $("title").textContent = data.title;
  $("notes").textContent = data.notes.join("\n");
  legend();
  foldToLegible();
  if (steps.length) drawMemory();
  else $("steps").hidden = true;
  slider.max = steps.length;
  draw();
  begin();
  slider.addEventListener("input", follow);
  $("play").addEventListener("click", play);
  $("next").addEventListener("click", () => go(Number(slider.value) + 1));
  $("back").addEventListener("click", () => go(Number(slider.value) - 1));
  $("fit").addEventListener("click", fit);
  $("theme").addEventListener("click", dark);
  const all = (action) => () => {
    for (const frame of frames) action(frame);
    draw();
    begin();
  };
  $("fold").addEventListener("click", all((frame) => frame.depth === 1 && folded.add(frame)));
  $("unfold").addEventListener("click", all((frame) => folded.delete(frame)));
  $("search").addEventListener("input", () => ((hit = 0), search()));
  $("search").addEventListener("keydown", (event) => event.key === "Enter" && toNextHit());
  window.addEventListener("keydown", (event) => {
    if (event.target.matches("input[type=search], button")) return;
    const action = { ArrowRight: () => go(Number(slider.value) + 1), ArrowLeft: () => go(Number(slider.value) - 1), " ": play, 0: fit }[event.key];
    if (!action || (event.key !== "0" && !steps.length)) return;
    event.preventDefault();
    action();
  });
}

start();
