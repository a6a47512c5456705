// The page: its filters, and its sections, which are redrawn when a filter changes. The address holds the filters.

const FLAGS = ["cut", "leak", "right", "numbers"];
const state = { run: null, level: null };

/** What ✓ and ✗ mean, where a step checker judged the texts. */
const judging = (what) =>
  what ? ` ✓ and ✗ come from the step checker, which judges only ${what}: a true step need not lead anywhere.` : "";

function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const level = Number.parseInt(asked.get("level"), 10);
  state.run = asked.get("run");
  state.level = allLevels.includes(level) ? level : null;
  for (const name of FLAGS) state[name] = asked.get(name) === "1";
}

function writeAddress() {
  const asked = new URLSearchParams();
  if (state.run !== null && measurements.length > 1) asked.set("run", state.run);
  if (state.level !== null) asked.set("level", state.level);
  for (const name of FLAGS) if (state[name]) asked.set(name, "1");
  history.replaceState(null, "", asked.size ? `#${asked}` : location.pathname + location.search);
}

const RUNS = DATA.runs.map((run) => ({
  ...run,
  table: Object.fromEntries(Object.entries(run.tables).map(([name, table]) => [name, decode(table)])),
}));
const measurements = RUNS.filter((run) => run.table.samples);
const measured = () => measurements.find((run) => run.name === state.run) ?? measurements[0];

const allLevels = [...new Set(RUNS.flatMap((run) => Object.values(run.table).flatMap(levelsOf)))].sort((a, b) => a - b);

const afterPaint = (draw) => requestAnimationFrame(() => setTimeout(draw));

function select(label, options, chosen, onChange) {
  const made = el(
    "select",
    {},
    options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)),
  );
  made.addEventListener("change", () => onChange(made.value));
  return el("label", {}, `${label} `, made);
}

function filters() {
  const changed = (name, value) => {
    state[name] = value;
    writeAddress();
    document.getElementById("kept").textContent = "Computing the numbers ...";
    afterPaint(render);
  };
  const box = (name, label) => {
    const input = el("input", { type: "checkbox", name });
    input.checked = state[name];
    input.addEventListener("change", () => changed(name, input.checked));
    return el("label", {}, input, ` ${label}`);
  };
  const controls = [];
  if (measurements.length > 1)
    controls.push(
      select(
        "Measurement",
        measurements.map((run) => [run.name, run.name]),
        measured().name,
        (v) => changed("run", v),
      ),
    );
  if (allLevels.length) {
    const levels = [["", "all"], ...allLevels.map((level) => [String(level), String(level)])];
    controls.push(
      select("Level", levels, state.level === null ? "" : String(state.level), (v) =>
        changed("level", v === "" ? null : Number(v)),
      ),
    );
  }
  if (measurements.length)
    controls.push(
      box("cut", "leave out cut samples"),
      box("leak", "leave out leaks"),
      box("right", "right answers only"),
    );
  if (!controls.length) return;
  document
    .getElementById("filters")
    .replaceChildren(
      el("fieldset", {}, el("legend", {}, "Filter the rows; every number on this page is recomputed"), ...controls),
      el("output", { id: "kept", "aria-live": "polite" }),
    );
}

const chosen = {};

/** A section with its own selector, which affects nothing else and keeps its value when a filter changes. */
function choosing(label, options, draw) {
  const place = el("div");
  const show = (value) => {
    chosen[label] = value;
    place.replaceChildren(draw(value));
  };
  const first = options.find(([value]) => value === chosen[label]) ?? options[0];
  show(first[0]);
  return [select(label, options, first[0], show), place];
}

/** That runs of a toy are shown; null if there are none. */
function toyNote() {
  const marked = RUNS.every((run) => run.toy) ? "" : "(toy) marks the runs of a toy. ";
  return RUNS.some((run) => run.toy) ? el("p", { class: "toy" }, marked + DATA.toy) : null;
}

/** What the page lacks; it stands after the answer, which a reader came for. */
function notes() {
  const run = measured();
  const lacking = [...DATA.unfinished, ...(run ? [...run.lacks, ...run.left_out] : [])];
  const others = RUNS.filter((r) => r !== run && r.left_out.length).length;
  if (others)
    lacking.push(
      `To stay small, this page holds only part of ${plural(others, run ? "other record" : "record")}. See "Where it comes from" for which part.`,
    );
  return lacking.map((note) => el("p", { class: "note" }, note));
}

/** What the filters leave out, in words; empty if nothing. It is printed because the filters are not. */
function leftOut() {
  const words = [
    state.level === null ? "" : `level ${state.level} only`,
    measurements.length && state.cut ? "without cut samples" : "",
    measurements.length && state.leak ? "without leaks" : "",
    measurements.length && state.right ? "right answers only" : "",
  ].filter(Boolean);
  return words.length ? `The filters keep only part of the rows: ${words.join(", ")}.` : "";
}

/** What the first section answers. */
function question() {
  if (measurements.length) return "Which positives should I train on?";
  const trainings = RUNS.filter((run) => run.method);
  if (trainings.length) return `What did the training${trainings.length > 1 ? "s" : ""} change?`;
  if (RUNS.some((run) => run.table.evaluation)) return "How often is the policy right?";
  return "What does a step along a positive do?";
}

function sections() {
  const out = [];
  const run = measured();
  const rows = run ? left(run.table.samples, state) : [];
  const compared = run ? comparisons(run.table.samples, rows) : [];
  out.push(
    section(
      "answer",
      question(),
      run ? el("p", {}, `${run.name}${run.toy ? " (toy)" : ""}: ${run.policy}, ${run.setting}.`) : null,
      leftOut() && el("p", { class: "note" }, leftOut()),
      run ? answers(run.table.samples, rows, compared) : null,
      outcomes(RUNS, state),
      run
        ? null
        : el(
            "p",
            {},
            "None of these records is a measurement of positives; ",
            el("code", {}, "expo measure"),
            " makes one.",
          ),
      ...notes(),
    ),
  );
  if (run) {
    const present = sourcesOf(run.table.samples, rows);
    out.push(verdicts(compared), meansTable(run, rows));
    out.push(
      section(
        "distributions",
        "Distributions",
        ...choosing("Quantity", Object.entries(QUANTITIES), (q) => distributions(run, rows, q)),
      ),
    );
    out.push(posterior(run, rows), acting(run, rows));
    if (present.length) {
      const kinds = present.map((source) => [source, nameOf(source)]);
      out.push(
        section(
          "samples",
          "Worst, median and best samples",
          el(
            "p",
            {},
            `Ordered by learning signal.${judging(run.texts?.judged)}`,
          ),
          ...choosing("Kind", kinds, (kind) => examples(run, rows, kind)),
        ),
      );
    }
  }
  out.push(accuracyAndPassK(RUNS, state));
  const trained = RUNS.filter((r) => r.curves);
  if (trained.length) {
    const names = [...new Set(trained.flatMap((r) => Object.keys(r.curves)))].filter((name) => name !== "step").sort();
    const first = ["reward", "loss"].filter((name) => names.includes(name));
    const ordered = [...first, ...names.filter((name) => !first.includes(name))];
    out.push(
      section(
        "curves",
        "Training curves",
        ...choosing(
          "Metric",
          ordered.map((name) => [name, name]),
          (name) => curves(trained, name),
        ),
      ),
    );
  }
  out.push(gradients(RUNS, state));
  out.push(numbers(run));
  out.push(provenance(RUNS));
  return out.filter(Boolean);
}

function numbers(run) {
  const draw = () => {
    const body = allNumbers(RUNS, run, state).map(([name, value]) => [
      name,
      el("data", { "data-name": name, value: String(value) }, number(value)),
    ]);
    return tableOf(plural(body.length, "number"), ["name", "value"], body);
  };
  return section(
    "numbers",
    "All numbers",
    el("p", {}, "Named as in docs/METRICS.md, and computed from the rows that pass the filters."),
    lazily("Show all numbers", draw, state.numbers),
  );
}

function render() {
  const run = measured();
  const made = sections();
  document.getElementById("head").replaceChildren(toyNote() ?? "");
  document.getElementById("sections").replaceChildren(...made);
  document
    .getElementById("contents")
    .replaceChildren(
      ...made.map((s) => el("li", {}, el("a", { href: `#${s.id}`, onclick: jump }, s.querySelector("h2").textContent))),
    );
  const kept = document.getElementById("kept");
  if (kept && run)
    kept.textContent = `${left(run.table.samples, state).length.toLocaleString("en")} of ${plural(run.table.samples.length, "sample")} left`;
  document.body.dataset.ready = "1";
}

/** Jump to a section without changing the address, which holds the filters. */
function jump(event) {
  event.preventDefault();
  const target = document.getElementById(event.target.getAttribute("href").slice(1));
  target.setAttribute("tabindex", "-1");
  target.scrollIntoView();
  target.focus({ preventScroll: true });
}

addEventListener("hashchange", () => {
  readAddress();
  filters();
  render();
});
readAddress();
filters();
// The page is painted before its numbers, which take a moment, unless the address asks for all of them.
if (state.numbers) render();
else afterPaint(render);
