// The sections of the page: each is made from the rows that the filters leave.

const lookOf = (source) => RULES.looks[source] ?? { colour: "#444444", dash: "" };
const RUN_LOOKS = RULES.run_looks;
const nameOf = (source) => RULES.names[source] ?? source;
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const plural = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;
const UNITS = { nll_sum: "per sequence", nll_per_token: "per token", learning_signal: "in nats", [RULES.probability]: "as a probability" };
const MARKS = { holds: "✓", fails: "✗", undecided: "?" };
const verdictMark = (verdict) => el("span", { class: `verdict ${verdict}` }, `${MARKS[verdict]} ${verdict}`);
const section = (id, title, ...content) => el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), ...content);

// --- What a reader came for -------------------------------------------------------------------------------------

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

// --- A measurement ----------------------------------------------------------------------------------------------

function verdicts(run, rows) {
  const rowsOf = comparisons(run.table.samples, rows).map((c) => [
    `${capital(nameOf(c.source))} against ${nameOf(c.reference)}`,
    `${c.property}, ${UNITS[c.quantity] ?? "share"}`,
    verdictMark(c.verdict),
    interval(c.difference, (x) => number(x, true)),
    c.bounded ? brackets(c.bounded, (x) => number(x, true)) : "",
    String(c.difference.n),
    paperMark(c),
  ]);
  const heads = ["positive", "property", "verdict", "difference of means", "finite-sample", "n", "paper's mark (its models)"];
  return section(
    "verdicts",
    "Verdicts: Table 1, measured",
    el("p", {}, "Each row is a difference of means over problems, paired by problem, with its 95 % bootstrap interval. Shares and probabilities have a second interval, whose level holds at every n and which decides."),
    tableOf("Differences of means and verdicts", heads, rowsOf),
    claimsOf([...RULES.licenses.bootstrap, ...RULES.licenses["finite-sample"]]),
  );
}

function paperMark(c) {
  const mark = RULES.table1[c.source]?.[c.property];
  return mark === undefined ? "none" : mark ? "✓" : "✗";
}

function meansTable(run, rows) {
  const heads = ["positive", "problems", "samples", "NLL per sequence", "NLL per token", "learning signal", "π(a*|q, c)", "tokens", "right", "cut", "leak"];
  const shown = ["nll_sum", "nll_per_token", "learning_signal", RULES.probability, "tokens", "correct", "truncated", "leak"];
  const body = means(run.table.samples, rows).map(({ source, problems, samples, of }) => [
    capital(nameOf(source)),
    String(problems),
    String(samples),
    ...shown.map((q) => (of[q].mean.n ? interval(of[q].mean, ["correct", "truncated", "leak"].includes(q) ? percent : number) : "–")),
  ]);
  return section(
    "means",
    "Means of each kind of positive",
    el("p", {}, "Means over problems with 95 % bootstrap intervals. Log-probabilities are in nats, at temperature 1, under the plain question prompt. Right, cut and leak are of the sampled text itself: its own answer is right, it reached the token limit, it says that it was given the answer."),
    tableOf("Means over problems", heads, body),
  );
}

const QUANTITIES = { nll_per_token: "NLL per token, nats", nll_sum: "NLL per sequence, nats", learning_signal: "learning signal log π(a*|q, c), nats", tokens: "tokens" };

function distributions(run, rows, quantity) {
  const samples = run.table.samples;
  const series = sourcesOf(samples, rows).map((source) => ({
    name: nameOf(source),
    look: lookOf(source),
    values: known(rows.filter((i) => word(samples, "source", i) === source).map((i) => samples[quantity][i])),
  }));
  return ecdf(`Distribution of ${QUANTITIES[quantity]} by kind of positive`, QUANTITIES[quantity], series, `Share of samples at or below each value. Samples, not problems: ${series.map((s) => `${s.name} ${s.values.length}`).join(", ")}.`);
}

function posterior(run, rows) {
  const found = againstPosterior(run.table.samples, rows);
  if (!found || run.temperature !== 1) return null;
  const body = Object.entries(RULES.weights).map(([name, words]) => [capital(words), found.of[name] ? interval(found.of[name]) : "–", String(found.of[name]?.n ?? 0)]);
  return section(
    "posterior",
    "Self-explanations against the posterior π(c|q, a*)",
    el("p", {}, `Lemma 2 is about samples of the posterior; these are samples of a prompt with the answer. Their importance weights say how far the two are apart. Of at most ${found.most} self-explanations a problem, one has all the weight in ${plural(found.on_one_sample, "problem")} of ${found.problems}.`),
    tableOf("Importance weights, means over problems", ["quantity", "mean with 95 % interval", "n"], body),
    claimsOf(RULES.licenses.posterior),
  );
}

function acting(run, rows) {
  const found = whereTheAnswerActs(run.table.acts, run.table.samples, rows);
  if (!found) return null;
  const body = Object.entries(RULES.kinds).map(([kind, words]) => [capital(words), interval(found[`${kind}/difference`]), interval(found[`${kind}/tokens`])]);
  return section(
    "acts",
    "Where in a self-explanation the answer acts",
    el("p", {}, "Shares of |log π(t|q, a*) − log π(t|q)| over the tokens of self-explanations, means over problems. The samples below show it token by token."),
    tableOf("Shares by kind of token", ["tokens", "share of the difference", "share of the tokens"], body),
  );
}

// --- Samples ----------------------------------------------------------------------------------------------------

/** The samples of a kind with the lowest, the median and the highest learning signal, and what else its problem has. */
function examples(run, rows, source) {
  const samples = run.table.samples;
  const ordered = rows
    .filter((i) => word(samples, "source", i) === source && samples.learning_signal[i] !== null)
    .sort((a, b) => samples.learning_signal[a] - samples.learning_signal[b]);
  if (!ordered.length) return el("p", {}, "The filters leave no sample of this kind.");
  const chosen = { worst: ordered[0], median: ordered[Math.floor((ordered.length - 1) / 2)], best: ordered.at(-1) };
  return el(
    "div",
    { class: "columns" },
    Object.entries(chosen).map(([name, i]) => example(run, `${capital(name)} learning signal`, i)),
  );
}

function example(run, title, i) {
  const samples = run.table.samples;
  const problem = word(samples, "problem", i);
  const [question, reference] = run.texts.problems[problem] ?? ["", ""];
  const others = [];
  for (let j = 0; j < samples.length; j++) {
    if (j !== i && samples.problem[j] === samples.problem[i] && samples.index[j] === 0) others.push(j);
  }
  const beside = others.filter((j) => run.texts.rows[j]).map((j) => el("details", {}, el("summary", {}, `${capital(nameOf(word(samples, "source", j)))} of the same problem`), ...written(run, j)));
  return el(
    "article",
    {},
    el("h3", {}, title),
    el("p", { class: "asked", dir: "auto" }, el("strong", {}, `${problem}. `), question),
    el("p", { dir: "auto" }, el("strong", {}, "Answer: "), reference),
    ...written(run, i),
    ...beside,
  );
}

function written(run, i) {
  const samples = run.table.samples;
  const text = run.texts.rows[i];
  const facts = [
    `${capital(nameOf(word(samples, "source", i)))}, sample ${samples.index[i]}`,
    `learning signal ${number(samples.learning_signal[i])} nats`,
    `NLL ${number(samples.nll_sum[i])} nats`,
    `${samples.tokens[i]} tokens`,
    samples.steps[i] ? `${samples.steps_true[i]} of ${plural(samples.steps[i], "step")} true` : "no step found",
  ];
  const flags = [
    word(samples, "status", i) && `own answer: ${word(samples, "status", i)}`,
    samples.truncated[i] && "cut at the token limit",
    samples.leak[i] && "says that it was given the answer",
  ].filter(Boolean);
  const out = [el("p", { class: "facts" }, facts.join(" · ")), el("p", { class: "flags" }, flags.map((f) => el("span", { class: "flag" }, f)))];
  if (!text) return [...out, el("p", {}, "Its text is not in this page, which would be too large with it.")];
  const parts = text.parts.map(([part, truth]) =>
    truth === null ? part : el("mark", { class: truth ? "true" : "false", title: truth ? "this step is true" : "this step is false" }, `${part} ${truth ? "✓" : "✗"}`),
  );
  out.push(el("pre", { dir: "auto" }, ...parts, el("span", { class: "rest" }, text.rest)));
  if (text.left_out) out.push(el("p", {}, `${plural(text.left_out, "more character")} of it are left out.`));
  if (text.tokens) out.push(el("details", {}, el("summary", {}, "Token by token: log π(t|q, a*) − log π(t|q)"), heat(text.tokens)));
  return out;
}

/** Tokens coloured by how much likelier the answer in the prompt makes them; a sign stands beside the large ones. */
function heat(tokens) {
  const shades = tokens.map(([token, difference]) => {
    const strength = Math.min(5, Math.ceil(Math.sqrt(Math.min(Math.abs(difference), 3) / 3) * 5));
    const side = Math.abs(difference) < 0.05 ? "" : difference > 0 ? `up up${strength}` : `down down${strength}`;
    return el("span", { class: side, title: `${number(difference, true)} nats` }, token);
  });
  return el("div", {}, el("p", {}, "Blue and underlined: likelier with the answer in the prompt. Orange and dotted: less likely. Full colour at 3 nats."), el("pre", { class: "heat", dir: "auto" }, shades));
}

// --- Accuracy, training, gradients ------------------------------------------------------------------------------

function accuracies_(runs, filters) {
  const having = runs.filter((run) => run.table.evaluation);
  if (!having.length) return null;
  const tables = having.map((run) => lazily(titleOf(run), () => accuracyTable(run, filters), having.length <= 3));
  const series = looked(having, (run) => curve(run, filters, having.length <= MANY));
  const trained = having.filter((run) => stepsOf(run.table.evaluation).length > 1);
  return section(
    "accuracy",
    "Accuracy and pass@k by level",
    el("p", {}, "Means over problems with 95 % bootstrap intervals, problems resampled; exact where every problem has 0, or every one 1. pass@k is unbiased from all samples of a problem. Of the filters only the level applies here."),
    trained.length ? lines("Accuracy over steps of training", "step", "accuracy", series.filter((s) => s.points.length > 1), `Accuracy over all problems that the filters leave${having.length > MANY ? "; of so many runs without intervals" : ", with 95 % intervals"}.`, [0, 1]) : null,
    differences(having, filters),
    ...tables,
    claimsOf(RULES.licenses.accuracy),
  );
}


/** A method has its colour in all pictures; runs of one method, and methods of one positive, differ in their dashes. */
const lookOfRun = (run, place) => ({ colour: run.colour, dash: RUN_LOOKS[(5 * place) % RUN_LOOKS.length].dash });

/** A line for each run; of many runs those of one method look alike. */
function looked(runs, pointsOf) {
  const names = runs.map((run) => (runs.length > MANY ? run.method || "not trained" : run.name));
  const kinds = [...new Set(names)];
  return runs.map((run, i) => ({ name: names[i], look: lookOfRun(run, kinds.indexOf(names[i])), points: pointsOf(run) }));
}

const curve = (run, filters, withIntervals) => {
  const { evaluation } = run.table;
  const rows = leftByLevel(evaluation, filters);
  return stepsOf(evaluation).map((step) => {
    if (!withIntervals) return [step, mean([...accuracies(evaluation, rows, step, 1).values()])];
    const of = accuracy(evaluation, rows, step, 1);
    return [step, of.mean, of.low, of.high];
  });
};

function accuracyTable(run, filters) {
  const { evaluation } = run.table;
  const rows = leftByLevel(evaluation, filters);
  const ks = ksOf(evaluation);
  const steps = stepsOf(evaluation);
  const levels = filters.level === null ? [null, ...levelsOf(evaluation)] : [filters.level];
  const shownSteps = [...new Set([steps[0], steps.at(-1)])];
  const body = shownSteps.flatMap((step) =>
    levels.map((level) => [
      `${shownSteps.length > 1 ? `step ${step}, ` : ""}${level === null ? "all levels" : `level ${level}`}`,
      ...ks.map((k) => interval(accuracy(evaluation, rows, step, k, level), percent)),
      String(accuracy(evaluation, rows, step, 1, level).n),
      level === null ? percent(shareOf(evaluation, rows, step, "truncated")) : "",
      level === null ? percent(shareOf(evaluation, rows, step, "unparsed")) : "",
    ]),
  );
  const heads = ["", ...ks.map((k) => (k === 1 ? "accuracy" : `pass@${k}`)), "problems", "cut", "no answer read"];
  return tableOf(titleOf(run), heads, body);
}

const titleOf = (run) => `${run.name}${run.toy ? " (toy)" : ""}: ${run.method || run.policy}, ${run.setting}`;

/** Each policy at its last step against the first run's, paired by problem. */
function differences(having, filters) {
  if (having.length < 2) return null;
  const last = having.map((run) => accuracies(run.table.evaluation, leftByLevel(run.table.evaluation, filters), stepsOf(run.table.evaluation).at(-1), 1));
  const said = { holds: "higher", fails: "lower", undecided: "not told apart" };
  const body = having.slice(1).map((run, i) => {
    const of = pairedDifference(last[i + 1], last[0]);
    if (!of.n) return [run.name, "no problem in common", "", "0"];
    return [run.name, interval(of, (x) => number(x, true)), said[verdictOf(of, 1)], String(of.n)];
  });
  return tableOf(`Accuracy at the last step less that of ${having[0].name}, paired by problem`, ["run", "difference", "", "problems"], body);
}

function curves(runs, name) {
  const points = (run) => (run.curves[name] ?? []).map((value, j) => [run.curves.step[j], value]).filter((p) => p[1] !== null);
  const series = looked(runs, points);
  return lines(`${name} over steps`, "step", name, series.filter((s) => s.points.length), `${name}, as the trainer logged it at each step. docs/METRICS.md explains each metric.`);
}

const FAR = 4;

function gradients(runs, filters) {
  const having = runs.filter((run) => run.table.alignment);
  if (!having.length) return null;
  const content = having.flatMap((run) => {
    const { alignment, gains } = run.table;
    const rows = leftByLevel(alignment, filters);
    const step = stepsOf(alignment).at(-1);
    const found = slopes(alignment, rows, step);
    const ratio = t2OverT1(alignment, rows, step);
    const ofKind = found.map(({ source }) => ({ name: nameOf(source), look: lookOf(source), values: ratio.filter((r) => r.source === source).map((r) => Math.max(-FAR, Math.min(FAR, r.value))) })).filter((r) => r.values.length);
    return [
      el("h3", {}, `${run.name}${run.toy ? " (toy)" : ""}: ${run.setting}${stepsOf(alignment).length > 1 ? `, step ${step}` : ""}`),
      dots("Slope of J along the gradient of each kind of positive", "slope of J per unit of step", found.map((f) => ({ name: nameOf(f.source), look: lookOf(f.source), of: f.slope })), "Slope of J, the chance of a right rollout, per unit of step along the gradient of log π(positive|q); means over problems with 95 % bootstrap intervals."),
      tableOf("Slopes", ["positive", "slope with 95 % interval", "problems", "positives", "right as a rollout", "mean norm"], found.map((f) => [capital(nameOf(f.source)), interval(f.slope, (x) => number(x, true)), String(f.slope.n), String(f.positives), String(f.right), number(f.norm)])),
      ofKind.length ? dots("log10 of |T2| / T1", "log10(|T2| / T1)", ofKind, "One dot for each right positive: right of 0 the other trajectories (T2) count more than the positive itself (T1). Dots at ±4 are at least that far out.") : null,
      gains ? predicted(run, filters) : null,
    ];
  });
  return section("gradients", "Gradients: what a step along a positive does to J", ...content, claimsOf([...RULES.licenses.slope, ...RULES.licenses.t1]));
}

function predicted(run, filters) {
  const { gains } = run.table;
  const rows = leftByLevel(gains, filters);
  const sizes = [...new Set(gains.size)].sort((a, b) => a - b);
  return el("div", {}, sizes.map((size) => {
    const points = rows
      .filter((i) => gains.size[i] === size && gains.predicted[i] !== null)
      .map((i) => ({ x: gains.predicted[i], y: gains.exact_after[i] !== null ? gains.exact_after[i] - gains.exact_before[i] : gains.realised[i], look: lookOf(word(gains, "source", i)), name: `${word(gains, "problem", i)}, ${nameOf(word(gains, "source", i))}` }))
      .filter((p) => p.y !== null);
    const same = points.filter((p) => p.x * p.y > 0).length;
    return scatter(`Predicted and realised change of J at length ${size}`, "predicted change of J", "realised", points, `A step of length ${size}: the change of J has the predicted sign in ${same} of ${points.length} cases. On the line the step did what its first order says.`);
  }));
}

// --- Every number, and where it comes from ----------------------------------------------------------------------

/** Every aggregate by the name that `metrics` has for it, as [name, value]. */
function allNumbers(runs, measured, filters) {
  const out = [];
  const add = (name, of, bounded) => {
    if (!of.n) return;
    out.push([name, of.mean], [`${name}/low`, of.low], [`${name}/high`, of.high]);
    if (bounded) out.push([`${name}/finite_sample_low`, bounded.low], [`${name}/finite_sample_high`, bounded.high]);
  };
  if (measured) {
    const { samples, acts } = measured.table;
    const rows = left(samples, filters);
    for (const { source, problems, samples: n, of } of means(samples, rows)) {
      out.push([`${source}/problems`, problems], [`${source}/samples`, n]);
      for (const q of RULES.measurements) add(`${source}/${q}`, of[q].mean, of[q].bounded);
    }
    for (const c of comparisons(samples, rows)) add(`${c.source} - ${c.reference}/${c.quantity}`, c.difference, c.bounded);
    const weights = measured.temperature === 1 ? againstPosterior(samples, rows) : null;
    if (weights) {
      out.push(["posterior/problems", weights.problems], ["posterior/on_one_sample", weights.on_one_sample]);
      for (const [name, of] of Object.entries(weights.of)) add(`posterior/${name}`, of);
    }
    for (const [name, of] of Object.entries(whereTheAnswerActs(acts, samples, rows) ?? {})) add(`acts/${name}`, of);
  }
  for (const run of runs) {
    const { evaluation, alignment } = run.table;
    if (evaluation) {
      const rows = leftByLevel(evaluation, filters);
      for (const step of stepsOf(evaluation)) {
        for (const level of [null, ...levelsOf(evaluation)]) {
          for (const k of ksOf(evaluation)) {
            add(`${run.name}/step ${step}/${level === null ? "all" : `level ${level}`}/pass@${k}`, accuracy(evaluation, rows, step, k, level));
          }
        }
      }
    }
    if (alignment) {
      for (const step of stepsOf(alignment)) {
        for (const { source, slope } of slopes(alignment, leftByLevel(alignment, filters), step)) add(`${run.name}/step ${step}/slope/${source}`, slope);
      }
    }
  }
  return out;
}

function provenance(runs) {
  const parts = runs.map((run) => {
    const { command, recipe, facts } = run.provenance;
    return el(
      "details",
      { open: runs.length === 1 },
      el("summary", {}, `${run.name}: ${run.setting}`),
      run.left_out.length ? el("p", { class: "note" }, run.left_out.join(" ")) : null,
      el("p", {}, "The command, with the flags that are not at their defaults:"),
      copied(command),
      el("p", {}, "The resolved recipe, which ", el("code", {}, "--config"), " takes:"),
      copied(recipe),
      tableOf("Made with and from", ["fact", "value"], facts),
    );
  });
  return section("provenance", "Where it comes from", ...parts);
}

/** A text with a button that copies it. */
function copied(text) {
  const shown = el("pre", {}, text);
  const button = el("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(shown);
      button.textContent = "Selected: press Ctrl+C";
    }
  });
  return el("div", { class: "copied" }, button, shown);
}
