// Elements, numbers and pictures. Text is only ever set as text, and pictures are SVG without inline styles.

function el(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "text", "circle", "rect", "title"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** Three significant digits, a true minus sign, no exponent in the range that is read at a glance. */
function number(x, plus = false) {
  if (x === null || Number.isNaN(x)) return "–";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  const exponent = x === 0 ? 0 : Math.floor(Math.log10(Math.abs(Number(x.toPrecision(3)))));
  const plain = exponent >= -4 && exponent < 6;
  const size = Math.abs(x);
  const exponential = () => size.toExponential(2).replace(/e([+-])(\d)$/, "e$10$2");
  const text = x === 0 ? "0" : plain ? fixed(size, Math.max(0, 2 - exponent)) : exponential();
  return (x < 0 ? "−" : plus && x > 0 ? "+" : "") + text;
}

const percent = (x) => (Number.isNaN(x) ? "–" : `${fixed(100 * x, x > 0 && x < 0.0995 ? 1 : 0)} %`);

/** `toFixed` of a number that is not negative, with ties rounded to even, as Python does. */
function fixed(x, digits) {
  const scaled = x * 10 ** digits;
  // Only a multiple of a power of 2 can lie exactly halfway.
  const tie = Number.isInteger(x * 2 ** (digits + 1)) && scaled % 1 === 0.5;
  return tie && Math.floor(scaled) % 2 === 0 ? (Math.floor(scaled) / 10 ** digits).toFixed(digits) : x.toFixed(digits);
}

/** A share in percentage points, without the percent sign. */
const points = (x) => number(100 * x);

/** A rounded number that also holds the exact one. */
const exact = (x, show = number) => el("data", { value: String(x), title: String(x) }, show(x));

const brackets = ({ low, high, n }, show = number) =>
  n === 0 ? "" : n === 1 ? "[of one problem]" : `[${show(low)}, ${show(high)}]`;

/** A mean with its interval in brackets. */
const interval = (of, show = number) =>
  el("span", { class: "interval" }, exact(of.mean, show), ` ${brackets(of, show)}`);

/** A table that scrolls by itself where the page is narrow; `heads` are words, rows are lists of cells. */
function tableOf(caption, heads, rows) {
  const cells = (of, tag) =>
    of.map((cell, i) => el(i ? tag : "th", { scope: tag === "th" ? "col" : i ? null : "row" }, cell));
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, cells(heads, "th"))),
      el(
        "tbody",
        {},
        rows.map((row) => el("tr", {}, cells(row, "td"))),
      ),
    ),
  );
}

/** Content that is made when it is first opened, since it takes a moment. */
function lazily(summary, draw, open = false) {
  const place = el("div");
  const details = el("details", {}, el("summary", {}, summary), place);
  const show = () => details.open && !place.firstChild && place.append(draw());
  details.addEventListener("toggle", show);
  details.open = open;
  show();
  return details;
}

// With more runs than this, those of one method look alike and have no intervals.
const MANY = 8;
const WIDTH = 640;
const LEFT = 56;
const BOTTOM = 40;
const TOP = 24;
const RIGHT = 16;

/** A number beside an axis, without the trailing zeros that a mean keeps. */
const tick = (x) =>
  number(x)
    .replace(/(\.\d*?)0+$/, "$1")
    .replace(/\.$/, "");

/** A scale from a domain to pixels, and its ticks. */
function scale([low, high], [from, to], logarithmic = false) {
  const f = logarithmic ? Math.log10 : (x) => x;
  const [a, b] = [f(low), f(high) > f(low) ? f(high) : f(low) + 1];
  const at = (x) => from + ((f(x) - a) / (b - a)) * (to - from);
  const ticks = [];
  if (logarithmic) {
    for (let e = Math.floor(a); e <= Math.ceil(b); e++) {
      for (const m of b - a < 1.5 ? [1, 2, 5] : [1])
        if (m * 10 ** e >= low && m * 10 ** e <= high) ticks.push(m * 10 ** e);
    }
  } else {
    const rough = (b - a) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    for (let t = Math.ceil(a / step) * step; t <= b + 1e-9 * step; t += step)
      ticks.push(Math.abs(t) < 1e-12 * step ? 0 : t);
  }
  return { at, ticks };
}

// Letters of a label are about this wide.
const labelWidth = (rows) => 6.2 * Math.max(...rows.map((row) => row.name.length)) + 14;

/** Axes with a grid: {svg, x, y}; what is drawn is appended to `svg`. */
function axes(label, { x, y, xLabel, yLabel, height = 260, logX = false, rowsOf = null }) {
  const svg = el("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label, class: "picture" });
  const left = rowsOf ? labelWidth(rowsOf) : LEFT;
  const xs = scale(x, [left, WIDTH - RIGHT], logX);
  const ys = scale(y, [height - BOTTOM, TOP]);
  for (const t of xs.ticks) {
    svg.append(el("line", { x1: xs.at(t), x2: xs.at(t), y1: TOP, y2: height - BOTTOM, class: "grid" }));
    svg.append(el("text", { x: xs.at(t), y: height - BOTTOM + 15, "text-anchor": "middle" }, tick(t)));
  }
  if (!rowsOf) {
    for (const t of ys.ticks) {
      svg.append(el("line", { x1: left, x2: WIDTH - RIGHT, y1: ys.at(t), y2: ys.at(t), class: "grid" }));
      svg.append(el("text", { x: left - 6, y: ys.at(t) + 4, "text-anchor": "end" }, tick(t)));
    }
  }
  svg.append(
    el("text", { x: (left + WIDTH - RIGHT) / 2, y: height - 6, "text-anchor": "middle", class: "label" }, xLabel),
  );
  if (yLabel) svg.append(el("text", { x: 4, y: 11, class: "label" }, yLabel));
  return { svg, x: xs.at, y: ys.at };
}

/** Names of the lines of a picture, each with its colour and its dashes. */
function legend(series) {
  const shown = series.filter((s, i) => series.findIndex((other) => other.name === s.name) === i);
  const items = shown.map(({ name, look }) => {
    const sample = el("svg", { viewBox: "0 0 34 10", class: "sample", "aria-hidden": "true" });
    sample.append(
      el("line", { x1: 1, x2: 33, y1: 5, y2: 5, stroke: look.colour, "stroke-dasharray": look.dash, class: "curve" }),
    );
    return el("li", {}, sample, name);
  });
  return el("ul", { class: "legend" }, items);
}

const figure = (caption, ...content) => el("figure", {}, ...content, el("figcaption", {}, caption));

const pathOf = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/** The share of values that are at most x, for several kinds; infinite values are drawn at the edges. */
function ecdf(label, xLabel, series, caption) {
  const all = series.flatMap((s) => s.values).filter(Number.isFinite);
  if (!all.length) return el("p", {}, "No value passes the filters.");
  const [low, high] = all.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  const logX = low > 0 && high / low > 20;
  const drawn = axes(label, {
    x: [low, high],
    y: [0, 1],
    xLabel: xLabel + (logX ? " (logarithmic)" : ""),
    yLabel: "share of samples",
    logX,
  });
  for (const { values, look, name } of series) {
    const sorted = [...values].sort((a, b) => a - b);
    const points = sorted.flatMap((v, i) => {
      const x = drawn.x(Math.min(high, Math.max(low, v)));
      return [
        [x, drawn.y(i / sorted.length)],
        [x, drawn.y((i + 1) / sorted.length)],
      ];
    });
    const line = el("path", { d: pathOf(points), stroke: look.colour, "stroke-dasharray": look.dash, class: "curve" });
    line.append(el("title", {}, name));
    drawn.svg.append(line);
  }
  return figure(caption, legend(series), drawn.svg);
}

/** Lines over steps; a point is [x, y] or [x, y, low, high], drawn with its interval. */
function lines(label, xLabel, yLabel, series, caption, range = null) {
  const points = series.flatMap((s) => s.points).filter((p) => Number.isFinite(p[1]));
  if (!points.length) return el("p", {}, "No value passes the filters.");
  const of = (values) => [Math.min(...values), Math.max(...values)];
  const y = range ?? of(points.flatMap((p) => p.slice(1).filter(Number.isFinite)));
  const drawn = axes(label, { x: of(points.map((p) => p[0])), y, xLabel, yLabel });
  series.forEach(({ points: own, look, name }, i) => {
    const finite = own.filter((p) => Number.isFinite(p[1]));
    const shift = series.length > MANY ? 0 : (i - (series.length - 1) / 2) * 3;
    for (const [px, , low, high] of finite) {
      if (!Number.isFinite(low) || !Number.isFinite(high)) continue;
      const at = drawn.x(px) + shift;
      drawn.svg.append(
        el("line", { x1: at, x2: at, y1: drawn.y(low), y2: drawn.y(high), stroke: look.colour, class: "whisker" }),
      );
    }
    const line = el("path", {
      d: pathOf(finite.map((p) => [drawn.x(p[0]) + shift, drawn.y(p[1])])),
      stroke: look.colour,
      "stroke-dasharray": look.dash,
      class: "curve",
    });
    line.append(el("title", {}, name));
    drawn.svg.append(line);
    if (finite.length < 40)
      for (const p of finite)
        drawn.svg.append(el("circle", { cx: drawn.x(p[0]) + shift, cy: drawn.y(p[1]), r: 2.6, fill: look.colour }));
  });
  return figure(caption, legend(series), drawn.svg);
}

/** One row per name: a dot at the mean with its interval, or a strip of single values. */
function dots(label, xLabel, rows, caption) {
  const values = rows.flatMap((r) => (r.values ? r.values : [r.of.mean, r.of.low, r.of.high])).filter(Number.isFinite);
  if (!values.length) return el("p", {}, "No value passes the filters.");
  const height = BOTTOM + TOP + 30 * rows.length;
  const drawn = axes(label, {
    x: [Math.min(0, ...values), Math.max(0, ...values)],
    y: [0, 1],
    xLabel,
    height,
    rowsOf: rows,
  });
  drawn.svg.append(el("line", { x1: drawn.x(0), x2: drawn.x(0), y1: TOP, y2: height - BOTTOM, class: "zero" }));
  rows.forEach((row, i) => {
    const y = TOP + 15 + 30 * i;
    drawn.svg.append(el("text", { x: labelWidth(rows) - 8, y: y + 4, "text-anchor": "end" }, row.name));
    if (row.values) {
      row.values.forEach((v, j) =>
        drawn.svg.append(
          el("circle", { cx: drawn.x(v), cy: y + ((j % 5) - 2) * 3, r: 2.6, fill: row.look.colour, class: "faint" }),
        ),
      );
      return;
    }
    if (!Number.isFinite(row.of.mean)) return;
    if (Number.isFinite(row.of.low))
      drawn.svg.append(
        el("line", {
          x1: drawn.x(row.of.low),
          x2: drawn.x(row.of.high),
          y1: y,
          y2: y,
          stroke: row.look.colour,
          class: "curve",
        }),
      );
    drawn.svg.append(el("circle", { cx: drawn.x(row.of.mean), cy: y, r: 4.5, fill: row.look.colour }));
  });
  return figure(caption, drawn.svg);
}

// Each kind of point has a shape too: circle, square, triangle, diamond, inverted triangle, plus, right triangle.
const SHAPES = [
  "M-3 0A3 3 0 1 1 3 0A3 3 0 1 1 -3 0Z",
  "M-3 -3H3V3H-3Z",
  "M0 -4L4 3H-4Z",
  "M0 -4.2L4.2 0L0 4.2L-4.2 0Z",
  "M0 4L4 -3H-4Z",
  "M-4 -1H-1V-4H1V-1H4V1H1V4H-1V1H-4Z",
  "M-4 -4L-4 4L4 4Z",
];

const shape = (place, x, y, colour) =>
  el("path", {
    d: SHAPES[place % SHAPES.length],
    transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
    fill: colour,
    class: "faint",
  });

/** Points on equal axes with the line on which both are the same; each kind has its colour and its shape. */
function scatter(label, xLabel, yLabel, points, caption) {
  points = points.filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y));
  if (!points.length) return el("p", {}, "No value passes the filters.");
  const reach = Math.max(...points.flatMap((p) => [Math.abs(p.x), Math.abs(p.y)])) * 1.05 || 1;
  const drawn = axes(label, { x: [-reach, reach], y: [-reach, reach], xLabel, yLabel, height: 400 });
  drawn.svg.append(
    el("line", { x1: drawn.x(-reach), x2: drawn.x(reach), y1: drawn.y(-reach), y2: drawn.y(reach), class: "zero" }),
  );
  const kinds = [...new Map(points.map((p) => [p.kind, p.look])).entries()];
  for (const p of points) {
    const dot = shape(
      kinds.findIndex(([kind]) => kind === p.kind),
      drawn.x(p.x),
      drawn.y(p.y),
      p.look.colour,
    );
    dot.append(el("title", {}, `${p.name}, ${p.kind}`));
    drawn.svg.append(dot);
  }
  const items = kinds.map(([kind, look], i) => {
    const sample = el(
      "svg",
      { viewBox: "0 0 14 12", class: "shape", "aria-hidden": "true" },
      shape(i, 7, 6, look.colour),
    );
    return el("li", {}, sample, kind);
  });
  return figure(caption, el("ul", { class: "legend" }, items), drawn.svg);
}
