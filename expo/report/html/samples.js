// Samples side by side, their steps and their tokens.

/** The samples of a kind with the lowest, median and highest learning signal, and others of the same problem. */
function examples(run, rows, source) {
  const samples = run.table.samples;
  const ordered = rows
    .filter((i) => word(samples, "source", i) === source && samples.learning_signal[i] !== null)
    .sort((a, b) => samples.learning_signal[a] - samples.learning_signal[b]);
  if (!ordered.length) return el("p", {}, "No sample of this kind passes the filters.");
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
  const beside = others
    .filter((j) => run.texts.rows[j])
    .map((j) =>
      el(
        "details",
        {},
        el("summary", {}, `${capital(nameOf(word(samples, "source", j)))} of the same problem`),
        ...written(run, j),
      ),
    );
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
  const out = [
    el("p", { class: "facts" }, facts.join(" · ")),
    el(
      "p",
      { class: "flags" },
      flags.map((f) => el("span", { class: "flag" }, f)),
    ),
  ];
  if (!text) return [...out, el("p", {}, "Its text was left out to keep this page small.")];
  const parts = text.parts.map(([part, truth]) =>
    truth === null
      ? part
      : el(
          "mark",
          { class: truth ? "true" : "false", title: truth ? "this step is true" : "this step is false" },
          `${part} ${truth ? "✓" : "✗"}`,
        ),
  );
  out.push(el("pre", { dir: "auto" }, ...parts, el("span", { class: "rest" }, text.rest)));
  if (text.left_out) out.push(el("p", {}, `Left out: ${plural(text.left_out, "more character")}.`));
  if (text.tokens)
    out.push(el("details", {}, el("summary", {}, "Token by token: log π(t|q, a*) − log π(t|q)"), heat(text.tokens)));
  return out;
}

/** Tokens coloured by how much more likely the answer in the prompt makes them; large ones are underlined, too. */
function heat(tokens) {
  const shades = tokens.map(([token, value]) => {
    const difference = Number(given(value));
    const strength = Math.min(5, Math.ceil(Math.sqrt(Math.min(Math.abs(difference), 3) / 3) * 5));
    const side = !(Math.abs(difference) >= 0.05) ? "" : difference > 0 ? `up up${strength}` : `down down${strength}`;
    return el("span", { class: side, title: `${number(difference, true)} nats` }, token);
  });
  return el(
    "div",
    {},
    el(
      "p",
      {},
      "Blue and underlined: more likely with the answer in the prompt. Orange and dotted: less likely. Full colour at 3 nats.",
    ),
    el("pre", { class: "heat", dir: "auto" }, shades),
  );
}
