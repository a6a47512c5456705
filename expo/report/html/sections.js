// The sections of a measurement, made from the rows that pass the filters, and what all sections share.

const lookOf = (source) => DATA.looks[source] ?? { colour: "#444444", dash: "" };
const RUN_LOOKS = DATA.run_looks;
const nameOf = (source) => DATA.names[source] ?? source;
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const plural = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;
const UNITS = { ...DATA.units, learning_signal: "in nats" };
const verdictMark = (verdict) => el("span", { class: `verdict ${verdict}` }, `${DATA.marks[verdict]} ${verdict}`);
const section = (id, title, ...content) =>
  el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), ...content);

function verdicts(compared) {
  const rowsOf = compared.map((c) => [
    `${capital(nameOf(c.source))} against ${nameOf(c.reference)}`,
    `${c.property}, ${UNITS[c.quantity] ?? "share"}`,
    verdictMark(c.verdict),
    interval(c.difference, (x) => number(x, true)),
    c.bounded ? brackets(c.bounded, (x) => number(x, true)) : "",
    String(c.difference.n),
    paperMark(c),
  ]);
  const heads = [
    "positive",
    "property",
    "verdict",
    "difference of means",
    "finite-sample",
    "n",
    "paper's mark (its models)",
  ];
  return section(
    "verdicts",
    "Verdicts: Table 1, measured",
    el(
      "p",
      {},
      "Each row is a difference of means over problems, paired by problem, with its 95 % bootstrap interval. For shares and probabilities, a second interval decides the verdict, since its level holds at every n.",
    ),
    tableOf("Differences of means and verdicts", heads, rowsOf),
    claimsOf([...DATA.licenses.bootstrap, ...DATA.licenses["finite-sample"]]),
  );
}

function paperMark(c) {
  const mark = DATA.table1[c.source]?.[c.property];
  return mark === undefined ? "none" : mark ? "✓" : "✗";
}

function meansTable(run, rows) {
  const heads = [
    "positive",
    "problems",
    "samples",
    "NLL per sequence",
    "NLL per token",
    "learning signal",
    "π(a*|q, c)",
    "tokens",
    "right",
    "cut",
    "leak",
  ];
  const shown = [
    "nll_sum",
    "nll_per_token",
    "learning_signal",
    DATA.probability,
    "tokens",
    "correct",
    "truncated",
    "leak",
  ];
  const body = means(run.table.samples, rows).map(({ source, problems, samples, of }) => [
    capital(nameOf(source)),
    String(problems),
    String(samples),
    ...shown.map((q) =>
      of[q].mean.n ? interval(of[q].bounded ?? of[q].mean, ["correct", "truncated", "leak"].includes(q) ? percent : number) : "–",
    ),
  ]);
  return section(
    "means",
    "Means of each kind of positive",
    el(
      "p",
      {},
      "Means over problems with 95 % intervals: finite-sample intervals for π(a*|q, c) and for shares, bootstrap intervals for everything else. Log-probabilities are in nats, at temperature 1, under the plain question prompt. Right, cut and leak describe the sampled text itself: its own answer is right, it reached the token limit, it says that it was given the answer.",
    ),
    tableOf("Means over problems", heads, body),
  );
}

const QUANTITIES = {
  nll_per_token: "NLL per token, nats",
  nll_sum: "NLL per sequence, nats",
  learning_signal: "learning signal log π(a*|q, c), nats",
  tokens: "tokens",
};

function distributions(run, rows, quantity) {
  const samples = run.table.samples;
  const series = sourcesOf(samples, rows).map((source) => ({
    name: nameOf(source),
    look: lookOf(source),
    values: known(rows.filter((i) => word(samples, "source", i) === source).map((i) => samples[quantity][i])),
  }));
  return ecdf(
    `Distribution of ${QUANTITIES[quantity]} by kind of positive`,
    QUANTITIES[quantity],
    series,
    `Share of samples at or below each value. The numbers count samples, not problems: ${series.map((s) => `${s.name} ${s.values.length}`).join(", ")}.${series.some((s) => s.values.some((v) => !Number.isFinite(v))) ? " Infinite values are drawn at the edges." : ""}`,
  );
}

function posterior(run, rows) {
  const found = againstPosterior(run.table.samples, rows);
  if (!found || run.temperature !== 1) return null;
  const body = Object.entries(DATA.weights).map(([name, words]) => [
    capital(words),
    found.of[name] ? interval(found.of[name]) : "–",
    String(found.of[name]?.n ?? 0),
  ]);
  return section(
    "posterior",
    "Self-explanations against the posterior π(c|q, a*)",
    el(
      "p",
      {},
      `Lemma 2 is about samples from the posterior, but these come from a prompt with the answer. Their importance weights show how far apart the two are. Each problem has at most ${plural(found.most, "self-explanation")}; in ${found.on_one_sample} of ${plural(found.problems, "problem")}, one of them has all the weight.`,
    ),
    tableOf("Importance weights, means over problems", ["quantity", "mean with 95 % interval", "n"], body),
    claimsOf(DATA.licenses.posterior),
  );
}

function acting(run, rows) {
  const found = whereTheAnswerActs(run.table.acts, run.table.samples, rows);
  if (!found) return null;
  const body = Object.entries(DATA.kinds).map(([kind, words]) => [
    capital(words),
    interval(found[`${kind}/difference`]),
    interval(found[`${kind}/tokens`]),
  ]);
  return section(
    "acts",
    "Where in a self-explanation the answer acts",
    el(
      "p",
      {},
      "Shares of |log π(t|q, a*) − log π(t|q)| over the tokens of self-explanations, means over problems. The samples below show it token by token.",
    ),
    tableOf("Shares by kind of token", ["tokens", "share of the difference", "share of the tokens"], body),
  );
}
