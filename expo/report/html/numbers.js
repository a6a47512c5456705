// Every number by its name.

/** Every aggregate under its name in `metrics`, as [name, value]. */
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
      for (const q of DATA.measurements) add(`${source}/${q}`, of[q].mean, of[q].bounded);
    }
    for (const c of comparisons(samples, rows))
      add(`${c.source} - ${c.reference}/${c.quantity}`, c.difference, c.bounded);
    const weights = measured.temperature === 1 ? againstPosterior(samples, rows) : null;
    if (weights) {
      out.push(["posterior/problems", weights.problems], ["posterior/on_one_sample", weights.on_one_sample]);
      for (const [name, of] of Object.entries(weights.of)) add(`posterior/${name}`, of);
    }
    for (const [name, of] of Object.entries(whereTheAnswerActs(acts, samples, rows) ?? {})) add(`acts/${name}`, of);
  }
  for (const run of runs) {
    const { evaluation, alignment, gains } = run.table;
    if (evaluation) {
      const rows = leftByLevel(evaluation, filters);
      for (const step of stepsOf(evaluation)) {
        for (const level of [null, ...levelsOf(evaluation)]) {
          for (const k of ksOf(evaluation)) {
            add(
              `${run.name}/step ${step}/${level === null ? "all" : `level ${level}`}/pass@${k}`,
              accuracy(evaluation, rows, step, k, level),
            );
          }
        }
      }
    }
    if (alignment) {
      for (const step of stepsOf(alignment)) {
        for (const { source, slope } of slopes(alignment, leftByLevel(alignment, filters), step))
          add(`${run.name}/step ${step}/slope/${source}`, slope);
        const ratios = t2OverT1(alignment, leftByLevel(alignment, filters), step).map(({ value }) => value);
        if (ratios.length)
          out.push(
            [`${run.name}/step ${step}/log10 of |T2| over T1/positives`, ratios.length],
            [`${run.name}/step ${step}/log10 of |T2| over T1`, mean(ratios)],
          );
      }
    }
    for (const size of new Set(gains?.size)) {
      const { of, clear, same } = predictions(gains, leftByLevel(gains, filters), size);
      out.push(
        [`${run.name}/length ${size}/predictions`, of.length],
        [`${run.name}/length ${size}/clear predictions`, clear],
        [`${run.name}/length ${size}/of the predicted sign`, same],
      );
    }
  }
  return out;
}
