// Accuracy, curves of trainings, and gradients.

function accuracyAndPassK(runs, filters) {
  const having = runs.filter((run) => run.table.evaluation);
  if (!having.length) return null;
  const tables = having.map((run) => lazily(titleOf(run), () => accuracyTable(run, filters), having.length <= 3));
  const series = looked(having, (run) => curve(run, filters, having.length <= MANY));
  const trained = having.filter((run) => stepsOf(run.table.evaluation).length > 1);
  return section(
    "accuracy",
    "Accuracy and pass@k by level",
    el(
      "p",
      {},
      "Means over problems with 95 % bootstrap intervals, which resample problems and are exact if all problems have 0 or all have 1. Differences between runs have 95 % finite-sample intervals, which are wider but right for any number of problems. pass@k is estimated without bias from all samples of a problem. Only the level filter applies here.",
    ),
    trained.length
      ? lines(
          "Accuracy over steps of training",
          "step",
          "accuracy",
          series.filter((s) => s.points.length > 1),
          `Accuracy over all problems that pass the filters${having.length > MANY ? "; intervals are left out for this many runs" : ", with 95 % intervals"}.`,
          [0, 1],
        )
      : null,
    differences(having, filters),
    ...tables,
    claimsOf(accuracyClaims()),
  );
}

/** A method has the same colour everywhere; runs of one method, and methods of one positive, differ in their dashes. */
const lookOfRun = (run, place) => ({ colour: run.colour, dash: RUN_LOOKS[(5 * place) % RUN_LOOKS.length].dash });

/** One line per run; with many runs, those of one method look alike. */
function looked(runs, pointsOf) {
  const names = runs.map((run) => (runs.length > MANY ? run.method || "not trained" : run.name));
  const kinds = [...new Set(names)];
  return runs.map((run, i) => ({
    name: names[i],
    look: lookOfRun(run, kinds.indexOf(names[i])),
    points: pointsOf(run),
  }));
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
      level === filters.level ? percent(shareOf(evaluation, rows, step, "truncated")) : "",
      level === filters.level ? percent(shareOf(evaluation, rows, step, "unparsed")) : "",
    ]),
  );
  const heads = [
    "problems of",
    ...ks.map((k) => (k === 1 ? "accuracy" : `pass@${k}`)),
    "problems",
    "cut",
    "no answer found",
  ];
  return tableOf(titleOf(run), heads, body);
}

const titleOf = (run) => `${run.name}${run.toy ? " (toy)" : ""}: ${run.method || run.policy}, ${run.setting}`;

/** Each policy at its last step compared with the first run's, paired by problem. */
function differences(having, filters) {
  if (having.length < 2) return null;
  const last = having.map((run) =>
    accuracies(
      run.table.evaluation,
      leftByLevel(run.table.evaluation, filters),
      stepsOf(run.table.evaluation).at(-1),
      1,
    ),
  );
  const said = { holds: "higher", fails: "lower", undecided: "undecided" };
  const body = having.slice(1).map((run, i) => {
    if (String(run.problems_id) !== String(having[0].problems_id)) return [run.name, "other problems", "", "0"];
    const of = boundedDifference(pairedDifferences(last[i + 1], last[0]));
    if (!of.n) return [run.name, "no problem in common", "", "0"];
    return [run.name, interval(of, (x) => number(100 * x, true)), said[verdictOf(of, 1)], String(of.n)];
  });
  return tableOf(
    `Accuracy at the last step minus that of ${having[0].name}, paired by problem`,
    ["run", "percentage points", "verdict", "problems"],
    body,
  );
}

function curves(runs, name) {
  const points = (run) =>
    (run.curves[name] ?? []).map((value, j) => [run.curves.step[j], value]).filter((p) => p[1] !== null);
  const series = looked(runs, points);
  return lines(
    `${name} over steps`,
    "step",
    name,
    series.filter((s) => s.points.length),
    `${name}, as the trainer logged it at each step. docs/METRICS.md explains each metric.`,
  );
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
    const ofKind = found
      .map(({ source }) => ({
        name: nameOf(source),
        look: lookOf(source),
        values: ratio.filter((r) => r.source === source).map((r) => Math.max(-FAR, Math.min(FAR, r.value))),
      }))
      .filter((r) => r.values.length);
    return [
      el(
        "h3",
        {},
        `${run.name}${run.toy ? " (toy)" : ""}: ${run.setting}${stepsOf(alignment).length > 1 ? `, step ${step}` : ""}`,
      ),
      dots(
        "Slope of J along the gradient of each kind of positive",
        "slope of J per unit of step",
        found.map((f) => ({ name: nameOf(f.source), look: lookOf(f.source), of: f.slope })),
        "Slope of J, the probability of a right rollout, per unit of step along the gradient of log π(positive|q); means over problems with 95 % bootstrap intervals.",
      ),
      tableOf(
        "Slopes",
        ["positive", "slope with 95 % interval", "problems", "positives", "right as a rollout", "mean norm"],
        found.map((f) => [
          capital(nameOf(f.source)),
          interval(f.slope, (x) => number(x, true)),
          String(f.slope.n),
          String(f.positives),
          String(f.right),
          number(f.norm),
        ]),
      ),
      ofKind.length
        ? dots(
            "log10 of |T2| / T1",
            "log10(|T2| / T1)",
            ofKind,
            "Each dot is one right positive. To the right of 0, the other trajectories (T2) count more than the positive itself (T1). Dots at ±4 are at least that far out.",
          )
        : null,
      gains ? predicted(run, filters) : null,
    ];
  });
  return section(
    "gradients",
    "Gradients: what a step along a positive does to J",
    ...content,
    claimsOf([...DATA.licenses.slope, ...DATA.licenses.t1]),
  );
}

function predicted(run, filters) {
  const { gains } = run.table;
  const rows = leftByLevel(gains, filters);
  const sizes = [...new Set(gains.size)].sort((a, b) => a - b);
  return el(
    "div",
    {},
    sizes.map((size) => {
      const { of, clear, same } = predictions(gains, rows, size);
      const points = of.map(({ i, x, y }) => ({
        ...{ x, y, look: lookOf(word(gains, "source", i)) },
        ...{ name: word(gains, "problem", i), kind: nameOf(word(gains, "source", i)) },
      }));
      return scatter(
        `Predicted and realised change of J at length ${size}`,
        "predicted change of J",
        "realised",
        points,
        `A step of length ${size}: the change of J has the predicted sign in ${same} of the ${clear} cases whose prediction is more than two standard errors from 0 (of ${points.length} with a prediction). On the line, the change is exactly the first-order prediction.`,
      );
    }),
  );
}
