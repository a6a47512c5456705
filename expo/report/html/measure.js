// The numbers of a measurement, as computed by expo/measure/verdict.py and weights.py, for the rows that pass the filters.

/** A table of the page with its columns decoded: {length, column: values}; words stay indices into `words`. */
function decode(encoded) {
  const table = { words: {} };
  for (const [name, column] of Object.entries(encoded)) {
    table[name] = Array.isArray(column) ? column.map((v) => (typeof v === "string" ? Number(v) : v)) : column.at;
    if (!Array.isArray(column)) table.words[name] = column.of;
  }
  table.length = Math.max(0, ...Object.values(encoded).map((c) => (Array.isArray(c) ? c : c.at).length));
  return table;
}

/** The word in a column of a row; empty where it is missing. */
const word = (table, column, row) => table.words[column]?.[table[column][row]] ?? "";

const onLevel = (table, i, filters) => filters.level === null || !table.level || table.level[i] === filters.level;

/** The rows of samples that pass the filters. An expert CoT was not graded, so it is not a wrong answer. */
const left = (samples, filters) =>
  rowsWhere(
    samples,
    (i) =>
      onLevel(samples, i, filters) &&
      !(filters.cut && samples.truncated[i]) &&
      !(filters.leak && samples.leak[i]) &&
      !(filters.right && samples.correct[i] === 0),
  );

/** The rows of a table of counts, to which only the level filter applies. */
const leftByLevel = (table, filters) => rowsWhere(table, (i) => onLevel(table, i, filters));

function rowsWhere(table, stays) {
  const rows = [];
  for (let i = 0; i < table.length; i++) if (stays(i)) rows.push(i);
  return rows;
}

/** Mean of a quantity over a problem's samples of one source, by problem. */
function byProblem(samples, rows, source, quantity) {
  const of = rows.filter((i) => word(samples, "source", i) === source);
  const values = of.map((i) =>
    quantity === DATA.probability ? probability(samples.learning_signal[i]) : samples[quantity][i],
  );
  return meansBy(
    of.map((i) => samples.problem[i]),
    values,
  );
}

// A log-probability of 0 can come out slightly above 0 through rounding.
const probability = (signal) => (signal === null ? null : Math.exp(Math.min(0, signal)));

/** Source minus reference in one quantity, paired by problem, with the verdict on its sign. */
function compare(samples, rows, { property, source, reference, quantity, sign }) {
  const [ones, others] = [source, reference].map((side) => byProblem(samples, rows, side, quantity));
  const gaps = [...ones]
    .filter(([p]) => others.has(p))
    .map(([p, value]) => [p, value - others.get(p)])
    // The difference of two infinities is no number.
    .filter(([, gap]) => !Number.isNaN(gap));
  const values = gaps.map(([, gap]) => gap);
  const difference = bootstrap(values);
  const bounded = DATA.bounded.includes(quantity) ? boundedDifference(values) : null;
  const total = sum(values);
  let largest = null;
  for (const [p, gap] of total && Number.isFinite(total) ? gaps : [])
    if (!largest || gap / total > largest.share) largest = { p, share: gap / total };
  return {
    ...{ property, source, reference, quantity, sign, values, difference, bounded },
    verdict: verdictOf(bounded ?? difference, sign),
    largest: largest && { problem: samples.words.problem[largest.p], share: largest.share },
  };
}

/** `holds` if the interval lies wholly on the side of the sign, `fails` if on the other side, else `undecided`. */
function verdictOf(interval, sign) {
  if (!(interval.n >= DATA.min_problems)) return "undecided";
  const [low, high] = [sign * interval.low, sign * interval.high].sort((a, b) => a - b);
  return low > 0 ? "holds" : high < 0 ? "fails" : "undecided";
}

const sourcesOf = (samples, rows) => {
  const present = new Set(rows.map((i) => word(samples, "source", i)));
  return DATA.order.filter((source) => present.has(source));
};

/** Each kind of positive against the two properties, and whether the self-explanation is right more often. */
function comparisons(samples, rows) {
  const present = sourcesOf(samples, rows);
  const out = [];
  for (const source of present) {
    for (const [property, quantity, sign, usual, own] of DATA.properties) {
      const reference = source === usual ? own : usual;
      if (present.includes(reference))
        out.push(compare(samples, rows, { property, source, reference, quantity, sign }));
    }
  }
  if (present.includes("explanation") && present.includes("own")) {
    const asked = {
      property: "own answer right",
      source: "explanation",
      reference: "own",
      quantity: "correct",
      sign: 1,
    };
    const answers = compare(samples, rows, asked);
    if (answers.difference.n) out.push(answers);
  }
  return out;
}

/** Means over problems of each source: [{source, problems, samples, of: {quantity: {mean, bounded}}}]. */
function means(samples, rows) {
  return sourcesOf(samples, rows).map((source) => {
    const own = rows.filter((i) => word(samples, "source", i) === source);
    const of = {};
    for (const quantity of DATA.measurements) {
      const values = [...byProblem(samples, rows, source, quantity).values()];
      of[quantity] = {
        mean: bootstrap(values),
        bounded: DATA.bounded.includes(quantity) ? finiteSample(values) : null,
      };
    }
    return { source, problems: new Set(own.map((i) => samples.problem[i])).size, samples: own.length, of };
  });
}

// In arithmetic, null would count as 0.
const given = (value) => value ?? NaN;

/** How far the sampler of self-explanations is from the posterior, from their weights; null if there are none. */
function againstPosterior(samples, rows) {
  const groups = new Map();
  for (const i of rows) {
    const has =
      word(samples, "source", i) === "explanation" && samples.nll_prompted?.[i] != null && !samples.truncated[i];
    if (!has) continue;
    const key = `${samples.problem[i]} ${samples.hint[i]}`;
    groups.set(key, [...(groups.get(key) ?? []), i]);
  }
  if (!groups.size) return null;
  const ownRows = rows.filter((i) => word(samples, "source", i) === "own");
  const own = meansBy(
    ownRows.map((i) => samples.problem[i]),
    ownRows.map((i) => (samples.learning_signal[i] === null ? null : Math.exp(samples.learning_signal[i]))),
  );
  const found = [...groups.values()].map((of) => {
    const logs = of.map((i) => given(samples.learning_signal[i]) - given(samples.nll_cot[i]) + samples.nll_prompted[i]);
    const signal = of.map((i) => Math.exp(given(samples.learning_signal[i])));
    const largest = Math.max(...logs);
    const raw = logs.map((l) => (largest === -Infinity ? 1 : Math.exp(l - largest)));
    const weights = raw.map((w) => w / sum(raw));
    const ofOwn = own.get(samples.problem[of[0]]) ?? NaN;
    const gain = mean(signal) - ofOwn;
    const weighted = sum(weights.map((w, j) => w * signal[j])) - ofOwn;
    return {
      ...{ problem: samples.problem[of[0]], n: of.length },
      effective_samples: 1 / sum(weights.map((w) => w * w)),
      ...{ kl_bound: -mean(known(logs)), gain, gain_weighted: weighted, gain_by_weights: weighted - gain },
    };
  });
  const of = {};
  for (const name of Object.keys(DATA.weights)) {
    // In order of first appearance, as pandas groups them here.
    const byOrder = new Map();
    for (const f of found)
      if (Number.isFinite(f[name])) byOrder.set(f.problem, [...(byOrder.get(f.problem) ?? []), f[name]]);
    if (byOrder.size) of[name] = bootstrap([...byOrder.values()].map(mean));
  }
  return {
    problems: new Set(found.map((f) => f.problem)).size,
    on_one_sample: found.filter((f) => f.effective_samples < 1.01 && f.n > 1).length,
    most: Math.max(...found.map((f) => f.n)),
    of,
  };
}

/** For each kind of token, its share of |log mu - log pi| and of all tokens; null if that was not measured. */
function whereTheAnswerActs(acts, samples, rows) {
  if (!acts) return null;
  const here = new Set(rows.map((i) => rowKey(samples, i)));
  const byOrder = new Map();
  for (let i = 0; i < acts.length; i++) {
    if (word(acts, "source", i) !== "explanation" || !here.has(rowKey(acts, i))) continue;
    const of = (part) => Object.keys(DATA.kinds).map((kind) => acts[`${kind}/${part}`][i]);
    const [size, tokens] = [sum(of("difference")), sum(of("tokens"))];
    if (!size) continue;
    const shares = [...of("difference").map((v) => v / size), ...of("tokens").map((v) => v / tokens)];
    byOrder.set(acts.problem[i], [...(byOrder.get(acts.problem[i]) ?? []), shares]);
  }
  if (!byOrder.size) return null;
  const perProblem = [...byOrder.values()].map((of) => of[0].map((_, j) => mean(of.map((shares) => shares[j]))));
  const kinds = Object.keys(DATA.kinds);
  const of = {};
  kinds.forEach((kind, j) => {
    of[`${kind}/difference`] = bootstrap(perProblem.map((shares) => shares[j]));
    of[`${kind}/tokens`] = bootstrap(perProblem.map((shares) => shares[kinds.length + j]));
  });
  return of;
}

const rowKey = (table, i) => `${word(table, "problem", i)}\n${word(table, "source", i)}\n${table.index[i]}`;
