// What a reader came for: the first screen.

/** The answer in a line, then a sentence for each kind of positive, what licenses it, and what would flip it. */
function answers(run, rows) {
  const samples = run.table.samples;
  const all = comparisons(samples, rows).filter((c) => c.property !== "own answer right");
  const kinds = sourcesOf(samples, rows)
    .map((source) => ({ source, own: all.filter((c) => c.source === source) }))
    .filter(({ own }) => own.length);
  return el("div", {}, el("p", { class: "says" }, inShort(kinds)), el("ol", { class: "answers" }, kinds.map(({ source, own }) => answer(source, own))));
}

/** Which kinds have both properties by every measure, which lack one, and of which neither is shown. */
function inShort(kinds) {
  const verdictsOf = ({ own }) => own.map((c) => c.verdict);
  const named = (list) => list.map(({ source }) => nameOf(source)).join(", ") || "none";
  const have = kinds.filter((kind) => verdictsOf(kind).every((v) => v === "holds"));
  const lack = kinds.filter((kind) => verdictsOf(kind).includes("fails"));
  const open = kinds.filter((kind) => !have.includes(kind) && !lack.includes(kind));
  return [
    "The paper asks two things of a positive: that it is likely under the policy (Property 1), and that it raises the chance of the right answer (Property 2). ",
    el("strong", {}, `Both hold by every measure: ${named(have)}. `),
    `One of them fails by some measure: ${named(lack)}. Nothing fails, but not all is decided: ${named(open)}.`,
  ];
}

function answer(source, own) {
  const of = (property) => own.filter((c) => c.property === property);
  const [likely, signal] = ["in-distribution", "positive learning signal"].map(of);
  const claims = [
    ...(likely.length ? RULES.licenses["in-distribution"] : []),
    ...(signal.length ? RULES.licenses["positive learning signal"] : []),
    ...([likely, signal].every((list) => list.length && list.every((c) => c.verdict === "holds")) ? RULES.licenses.both : []),
    ...(source === "explanation" ? RULES.licenses.explanation : []),
  ];
  return el(
    "li",
    { "data-source": source },
    el("p", { class: "says" }, el("strong", {}, `${capital(nameOf(source))}. `), ...half("Property 1", likely), " ", ...half("Property 2", signal)),
    el("p", { class: "flip" }, el("strong", {}, "What would flip it: "), [...flips("Property 1", likely), ...flips("Property 2", signal)].join("; "), "."),
    claimsOf(claims),
  );
}

/** What the comparisons of one property come to, each with its verdict, as one sentence. */
function half(name, list) {
  if (!list.length) return [`${name} was not measured.`];
  const parts = list.flatMap((c, i) => [...compared(c, list[i - 1]), " (", verdictMark(c.verdict), ")"]);
  return [`${name}: it `, ...parts, `, n = ${plural(list[0].difference.n, "problem")}.`];
}

/** `is likelier than the expert CoT by 23.4 nats per sequence [17.2, 30.1]`; of a second measure what is new alone. */
function compared(c, before) {
  const deciding = c.bounded ? { ...c.bounded, mean: c.difference.mean } : c.difference;
  const less = c.difference.mean < 0;
  const size = less ? { mean: -deciding.mean, low: -deciding.high, high: -deciding.low, n: deciding.n } : deciding;
  const joined = !before ? "" : before.difference.mean < 0 === less ? " and " : " but ";
  const again = joined === " and ";
  if (c.quantity.startsWith("nll")) {
    const does = again ? "" : `is ${less ? "likelier" : "less likely"} ${before ? "" : `than the ${nameOf(c.reference)} `}`;
    return [joined, does, "by ", interval(size), ` nats ${UNITS[c.quantity]}`];
  }
  const does = again ? "" : less ? "lowers " : "raises ";
  if (c.quantity === RULES.probability) return [joined, does, "π(a*|q, c) itself by ", interval(size)];
  return [joined, does, `log π(a*|q, c) against the ${nameOf(c.reference)} by `, interval(size), " nats"];
}

/** What it would take to change the verdicts on one property, a phrase for each of its measures. */
function flips(name, list) {
  return list.map((c) => {
    const what = `${name} ${UNITS[c.quantity]}`;
    const deciding = c.bounded ?? c.difference;
    const n = c.difference.n;
    if (n < RULES.min_problems) return `${what}, at least ${RULES.min_problems} problems`;
    if (c.verdict === "undecided") {
      const factor = ((deciding.high - deciding.low) / 2 / Math.abs(c.difference.mean)) ** 2;
      const needed = Math.max(Math.ceil(n * factor), n + 1);
      return factor < 1000 ? `${what}, about ${needed.toLocaleString("en")} problems instead of ${n}, with this mean and spread` : `${what}, another mean, for this one is near 0`;
    }
    const near = Math.min(Math.abs(deciding.low), Math.abs(deciding.high));
    const unit = c.quantity === RULES.probability ? "" : " nats";
    const hangs = c.largest && c.largest.share >= RULES.hangs ? ` (problem ${c.largest.problem} alone is ${percent(c.largest.share)} of it)` : "";
    return `${what}, a mean difference ${number(near)}${unit} nearer to 0${hangs}`;
  });
}

/** The claims that license a reading, with their verdicts. */
function claimsOf(ids) {
  const items = [...new Set(ids)].map((id) => {
    const claim = RULES.claims[id];
    return el("li", {}, el("strong", {}, `${id} (${claim.verdict}, ${claim.where}): `), claim.statement, claim.corrected ? ` What holds: ${claim.corrected}` : "");
  });
  const named = [...new Set(ids)].map((id) => `${id} (${RULES.claims[id].verdict})`).join(", ");
  return el("details", { class: "claims" }, el("summary", {}, `The claims of the ledger that license this reading and bound it: ${named}`), el("ul", {}, items));
}

/** What trainings, evaluations and measured gradients come to, a sentence each. */
function outcomes(runs, filters) {
  return runs.flatMap((run) => {
    const out = [];
    const { evaluation, alignment } = run.table;
    if (evaluation) out.push(el("li", {}, el("strong", {}, `${run.name}: `), ...outcome(run, leftByLevel(evaluation, filters))));
    if (alignment) {
      const rows = leftByLevel(alignment, filters);
      const step = stepsOf(alignment).at(-1);
      for (const { source, slope } of slopes(alignment, rows, step)) {
        const sure = verdictOf(slope, 1);
        const does = { holds: "raises J", fails: "lowers J", undecided: "is not shown to change J" }[sure];
        out.push(el("li", {}, el("strong", {}, `${run.name}: `), `a step along the ${nameOf(source)} ${does}: slope `, interval(slope), `, n = ${plural(slope.n, "problem")}.`));
      }
    }
    return out;
  });
}

function outcome(run, rows) {
  const { evaluation } = run.table;
  const steps = stepsOf(evaluation);
  const last = steps.at(-1);
  const after = accuracy(evaluation, rows, last, 1);
  if (steps.length < 2) return [`accuracy `, interval(after, percent), `, n = ${plural(after.n, "problem")}.`];
  const gained = pairedDifference(accuracies(evaluation, rows, last, 1), accuracies(evaluation, rows, steps[0], 1));
  const verdict = { holds: "is higher", fails: "is lower", undecided: "is not shown to differ" }[verdictOf(gained, 1)];
  return [
    `after ${last} steps of ${run.method}, accuracy ${verdict}: `,
    interval(accuracy(evaluation, rows, steps[0], 1), percent),
    " before, ",
    interval(after, percent),
    " after, a paired difference of ",
    interval(gained),
    `, n = ${plural(gained.n, "problem")}.`,
    verdictOf(gained, 1) === "undecided" ? "" : ` It would flip with a mean difference ${number(Math.min(Math.abs(gained.low), Math.abs(gained.high)))} nearer to 0.`,
  ];
}
