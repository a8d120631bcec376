"use strict";
// A layered layout of frames within frames. The content of a frame is set in rows by longest path; the frame is then a
// box like any other to the frame around it. Boxes get x and y (absolute), w and h; links get the points on their way.

const GAP = { x: 18, y: 28, pad: 12, head: 26, lane: 12 };

/** Sets everything in `root` that is shown. `size(box)` measures nodes and folded frames. Gives the links to draw. */
function layout(root, edges, folded, size) {
  const shown = new Map();
  const show = (box, as) => {
    const self = as || (box.children && folded.has(box) ? box : null);
    if (self || !box.children) shown.set(box, self || box);
    Object.assign(box, { links: [], entering: [], leaving: [] });
    for (const child of box.children || []) show(child, self);
  };
  show(root, null);
  const links = lifted(root, edges, shown);
  setFrame(root, folded, size);
  moveTo(root, 0, 0);
  return links;
}

/** Each edge between what is shown, once, given to the innermost frame that holds both of its ends. */
function lifted(root, edges, shown) {
  const known = new Map();
  for (const { source, target, kind } of edges) {
    const from = shown.get(source), to = shown.get(target);
    const name = `${from.number} ${to.number} ${kind}`;
    if (from === to || known.has(name)) continue;
    const a = chain(from), b = chain(to);
    let depth = 0;
    while (a[depth] === b[depth]) depth++;
    const link = { from, to, kind, a: a[depth], b: b[depth], lanes: [], exits: [], entries: [] };
    link.down = link.a.first < link.b.first && kind !== "again" && kind !== "saved";
    (depth ? a[depth - 1] : root).links.push(link);
    if (link.down) {
      for (let k = depth; k + 1 < a.length; k++) a[k].leaving.push({ link, box: a[k + 1] });
      for (let k = depth; k + 1 < b.length; k++) b[k].entering.push({ link, box: b[k + 1] });
    }
    known.set(name, link);
  }
  return [...known.values()];
}

/** The boxes around a box, outermost (below the root) first, and itself. */
function chain(box) {
  const all = [];
  for (let at = box; at.up; at = at.up) all.unshift(at);
  return all;
}

function setFrame(frame, folded, size) {
  for (const child of frame.children) {
    if (child.children && !folded.has(child)) setFrame(child, folded, size);
    else [child.w, child.h] = size(child);
  }
  const rows = ordered(inRows(frame));
  settle(rows);
  const all = rows.flat();
  const left = Math.min(...all.map((box) => box.x));
  const right = Math.max(...all.map((box) => box.x + box.w));
  let y = frame.up ? GAP.head : 0;
  for (const row of rows) {
    const height = Math.max(...row.map((box) => box.h));
    for (const box of row) {
      box.x += GAP.pad - left;
      if (box.lane) box.h = height;
      box.y = y + (box.children ? 0 : (height - box.h) / 2);
    }
    y += height + GAP.y;
  }
  const head = frame.up ? size(frame)[0] : 0;
  const spare = Math.max(0, head - (right - left) - 2 * GAP.pad) / 2;
  for (const box of all) box.x += spare;
  frame.w = right - left + 2 * GAP.pad + 2 * spare;
  frame.h = y - GAP.y + GAP.pad;
  frame.lanes = all.filter((box) => box.lane);
}

/** Rows by longest path; links that pass a row, also on their way into or out of the frame, get a lane in it. */
function inRows(frame) {
  const down = frame.links.filter((link) => link.down);
  const into = new Map(), out = new Map();
  for (const link of down) {
    (into.get(link.b) || into.set(link.b, []).get(link.b)).push(link);
    (out.get(link.a) || out.set(link.a, []).get(link.a)).push(link);
  }
  const boxes = [...frame.children].sort((one, other) => one.first - other.first);
  for (const box of boxes) box.row = Math.max(0, ...(into.get(box) || []).map((link) => link.a.row + 1));
  if (boxes.every((box) => box.family === "saved")) boxes.forEach((box, i) => (box.row = i));
  for (const box of boxes) {
    if (!into.has(box) && out.has(box)) box.row = Math.min(...out.get(box).map((link) => link.b.row)) - 1;
  }
  const rows = [];
  const put = (box) => (rows[box.row] || (rows[box.row] = [])).push(box);
  for (const box of boxes) {
    box.above = [];
    box.below = [];
    put(box);
  }
  const pass = (from, first, stop, to) => {
    const lanes = [];
    let last = from;
    const join = (next) => {
      if (last && next) {
        last.below.push(next);
        next.above.push(last);
      }
      last = next;
    };
    for (let row = first; row < stop; row++) {
      const lane = { lane: true, row, w: GAP.lane, h: 0, above: [], below: [] };
      put(lane);
      join(lane);
      lanes.push(lane);
    }
    join(to);
    return lanes;
  };
  const count = rows.length;
  for (const link of down) link.lanes = pass(link.a, link.a.row + 1, link.b.row, link.b);
  for (const { link, box } of frame.leaving) link.exits.push(...pass(box, box.row + 1, count, null));
  for (const { link, box } of frame.entering) link.entries.unshift(...pass(null, 0, box.row, box));
  return rows.filter(Boolean);
}

/** The boxes of each row in an order with few crossings: by the mean place of their neighbours, down and up. */
function ordered(rows) {
  const number = (row) => row.forEach((box, i) => (box.at = i - (row.length - 1) / 2));
  rows.forEach(number);
  for (let round = 0; round < 6; round++) {
    const side = round % 2 ? "below" : "above";
    for (const row of round % 2 ? [...rows].reverse() : rows) {
      for (const box of row) box.wish = box[side].length ? mean(box[side].map((other) => other.at)) : box.at;
      row.sort((one, other) => one.wish - other.wish);
      number(row);
    }
  }
  return rows;
}

const mean = (numbers) => numbers.reduce((sum, n) => sum + n, 0) / numbers.length;

/** Places along the rows: near the neighbours above and below, without overlap. */
function settle(rows) {
  for (const row of rows) for (const box of row) box.x = -box.w / 2;
  rows.forEach((row) => spread(row, row.map(() => 0)));
  const middle = (box) => box.x + box.w / 2;
  for (let round = 0; round < 8; round++) {
    for (const row of round % 2 ? [...rows].reverse() : rows) {
      const wishes = row.map((box) => {
        const near = round < 6 ? box[round % 2 ? "below" : "above"] : [...box.above, ...box.below];
        return near.length ? mean(near.map(middle)) : middle(box);
      });
      spread(row, wishes);
    }
  }
}

/** Middles as near to the wishes as order and gaps allow: least squares, by pooling neighbours that would overlap. */
function spread(row, wishes) {
  const offsets = [];
  let offset = 0;
  row.forEach((box, i) => {
    offset += i ? (row[i - 1].w + box.w) / 2 + (box.lane || row[i - 1].lane ? GAP.lane : GAP.x) : 0;
    offsets.push(offset);
  });
  const pools = [];
  wishes.forEach((wish, i) => {
    let pool = { sum: wish - offsets[i], count: 1 };
    while (pools.length && pools.at(-1).sum / pools.at(-1).count > pool.sum / pool.count) {
      const before = pools.pop();
      pool = { sum: pool.sum + before.sum, count: pool.count + before.count };
    }
    pools.push(pool);
  });
  let i = 0;
  for (const pool of pools) {
    for (let k = 0; k < pool.count; k++, i++) row[i].x = pool.sum / pool.count + offsets[i] - row[i].w / 2;
  }
}

function moveTo(frame, x, y) {
  frame.x = x;
  frame.y = y;
  for (const box of [...frame.children, ...(frame.lanes || [])]) {
    box.x += x;
    box.y += y;
    if (box.children && box.lanes) moveTo(box, box.x, box.y);
  }
}

/** The line of a link: from bottom to top through its lanes; what is kept sideways; upward ones in a bow on the right. */
function lineOf(link) {
  const { from, to } = link;
  const start = [from.x + from.w / 2, from.y + from.h], end = [to.x + to.w / 2, to.y - 1];
  if (link.kind === "saved") {
    const a = [from.x + from.w, from.y + from.h / 2], b = [to.x - 1, to.y + to.h / 2], half = (a[0] + b[0]) / 2;
    return `M${a}C${half},${a[1]} ${half},${b[1]} ${b}`;
  }
  if (end[1] < start[1]) {
    const a = [from.x + from.w, from.y + from.h / 2], b = [to.x + to.w + 1, to.y + to.h / 2];
    const bow = Math.max(a[0], b[0]) + 24;
    return `M${a}C${bow},${a[1]} ${bow},${b[1]} ${b}`;
  }
  let line = `M${start}`, last = start;
  const through = (lane) => [[lane.x + lane.w / 2, lane.y], [lane.x + lane.w / 2, lane.y + lane.h]];
  for (const next of [...[...link.exits, ...link.lanes, ...link.entries].flatMap(through), end]) {
    const half = (last[1] + next[1]) / 2;
    line += `C${last[0]},${half} ${next[0]},${half} ${next}`;
    last = next;
  }
  return line;
}
