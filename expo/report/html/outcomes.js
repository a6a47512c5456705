// Accuracies of policies and slopes of gradients, as expo/evaluate.py and gradients/predictors.py compute them.

const stepsOf = (table) => [...new Set(table.step)].sort((a, b) => a - b);
const levelsOf = (table) => [...new Set(known(table.level ?? []))].sort((a, b) => a - b);

/** Mean pass@k over the problems of a step that pass the filters, or of one level. */
function accuracy(evaluation, rows, step, k, level = null) {
  const of = rows.filter((i) => evaluation.step[i] === step && (level === null || evaluation.level[i] === level));
  return bootstrapRate(of.map((i) => passAtK(evaluation.n[i], evaluation.correct[i], k)));
}

/** pass@k at a step, by the problem's name. */
function accuracies(evaluation, rows, step, k) {
  const of = rows.filter((i) => evaluation.step[i] === step);
  return new Map(of.map((i) => [word(evaluation, "problem", i), passAtK(evaluation.n[i], evaluation.correct[i], k)]));
}

/** Differences of two policies in pass@k, one for each problem that both were evaluated on. */
const pairedDifferences = (ones, others) =>
  [...ones].filter(([problem]) => others.has(problem)).map(([problem, a]) => a - others.get(problem));

/** 1, 2, 4, ... up to the number of samples a problem has, and that number. */
function ksOf(evaluation) {
  const n = evaluation.n.reduce((a, b) => Math.min(a, b), Infinity);
  const ks = [];
  for (let k = 1; k < n; k *= 2) ks.push(k);
  return [...ks, n];
}

/** Share of samples of a step for which a count holds. */
function shareOf(evaluation, rows, step, column) {
  const of = rows.filter((i) => evaluation.step[i] === step && evaluation[column]?.[i] != null);
  return of.length ? sum(of.map((i) => evaluation[column][i])) / sum(of.map((i) => evaluation.n[i])) : NaN;
}

/** The slope of J per unit of step along the gradients of each kind of positive; intervals resample questions. */
function slopes(alignment, rows, step) {
  const of = rows.filter((i) => alignment.step[i] === step);
  const present = new Set(of.map((i) => word(alignment, "source", i)));
  const order = [...Object.keys(DATA.names).filter((s) => present.has(s))];
  return order.map((source) => {
    const own = of.filter((i) => word(alignment, "source", i) === source);
    const unit = own.map((i) => unitSlope(alignment, i));
    const values = [
      ...meansBy(
        own.map((i) => alignment.problem[i]),
        unit,
      ).values(),
    ];
    return {
      ...{ source, positives: own.length, values },
      slope: bootstrap(values),
      right: own.filter((i) => alignment.reward[i] === 1).length,
      norm: mean(own.map((i) => alignment.norm[i])),
    };
  });
}

const unitSlope = (alignment, i) => (alignment.norm[i] > 0 ? (alignment.slope[i] ?? 0) / alignment.norm[i] : 0);

/** log10 of |T2| / T1 of each right positive, by kind; T1 and T2 add up to the slope. Equal texts count once. */
function t2OverT1(alignment, rows, step) {
  const out = [];
  for (const i of rows) {
    if (alignment.step[i] !== step || alignment.reward[i] !== 1 || alignment.repeated[i]) continue;
    // Where all rollouts were right, or all wrong, no slope was measured: it has no error.
    if (alignment.slope_error[i] === null) continue;
    const t1 = 10 ** alignment.log10_t1[i];
    const t2 = Math.abs(alignment.slope[i] - t1);
    if (t1 > 0 && t2 > 0) out.push({ source: word(alignment, "source", i), value: Math.log10(t2 / t1) });
  }
  return out;
}

/** The predicted and the realised change of J of each positive at one length. Equal texts count once. */
function predictions(gains, rows, size) {
  const of = rows
    // Where all rollouts were right, or all wrong, nothing was predicted or realised: that has no error.
    .filter((i) => gains.size[i] === size && !gains.repeated[i] && gains.predicted_error[i] !== null)
    .filter((i) => gains.exact_after[i] !== null || gains.realised_error[i] !== null)
    .map((i) => ({
      ...{ i, x: gains.predicted[i] },
      y: gains.exact_after[i] !== null ? gains.exact_after[i] - gains.exact_before[i] : gains.realised[i],
    }));
  const clear = of.filter(({ i, x }) => Math.abs(x) > 2 * gains.predicted_error[i]);
  return { of, clear: clear.length, same: clear.filter(({ x, y }) => x * y > 0).length };
}
