// The first screen, with the answer that a reader came for. No sentence says more than its verdict does.

/** A short answer, then for each kind of positive a sentence, the claims behind it, and what would change it. */
function answers(samples, rows, compared) {
  const all = compared.filter((c) => c.property !== "own answer right" && c.difference.n);
  const kinds = sourcesOf(samples, rows).map((source) => ({ source, own: all.filter((c) => c.source === source) }));
  return el(
    "div",
    {},
    el("div", { class: "says" }, manyCut(samples, rows), inShort(kinds)),
    el(
      "ol",
      { class: "answers" },
      kinds.filter(({ own }) => own.length).map(({ source, own }) => answer(source, own)),
    ),
  );
}

const MOST_CUT = 0.2; // of a kind's samples, before its verdicts need a warning

/** A warning about kinds of which many samples reached the token limit; null if there are none. */
function manyCut(samples, rows) {
  const cut = sourcesOf(samples, rows)
    .map((source) => {
      const own = rows.filter((i) => word(samples, "source", i) === source);
      return { source, share: own.filter((i) => samples.truncated[i]).length / own.length };
    })
    .filter(({ share }) => share > MOST_CUT);
  if (!cut.length) return null;
  const told = cut.map(({ source, share }) => `${nameOf(source)} ${percent(share)}`).join(", ");
  return el(
    "p",
    {},
    el("strong", {}, "Many samples were cut at the token limit: "),
    `${told}. A cut text has not finished its reasoning. Measure again with a higher --max_new_tokens before you trust what follows.`,
  );
}

const named = (kinds) => kinds.map(({ source }) => nameOf(source)).join(", ");
const ofProperty = (own, property) => own.filter((c) => c.property === property);
const holdsBoth = ({ own }) =>
  ["in-distribution", "positive learning signal"].every((property) => {
    const list = ofProperty(own, property);
    return list.length && list.every((c) => c.verdict === "holds");
  });

/** What can be said where no kind has both properties by every measure: what is missing, or which kind comes closest. */
function withoutBoth(kinds, lack) {
  const measuredOf = (property) => kinds.some(({ own }) => ofProperty(own, property).length);
  if (!measuredOf("in-distribution"))
    return "This record cannot say whether a kind has both: it lacks expert CoTs or texts to compare with them, so Property 1 was not measured.";
  if (!measuredOf("positive learning signal"))
    return "This record cannot say whether a kind has both: it lacks own CoTs or texts to compare with them, so Property 2 was not measured.";
  const none = "No kind of positive has both properties by every measure.";
  const held = ({ own }) => own.filter((c) => c.verdict === "holds").length;
  const rest = kinds.filter((kind) => !lack.includes(kind) && held(kind));
  if (!rest.length) return none;
  const most = Math.max(...rest.map(held));
  const closest = rest.filter((kind) => held(kind) === most);
  const open = closest[0].own.filter((c) => c.verdict === "undecided");
  const all = DATA.properties.length;
  return `${none} The closest ${closest.length > 1 ? "are" : "is"} ${named(closest)}: ${most} of ${all} measures ${most === 1 ? "holds" : "hold"}, none fails, and ${all - most} ${all - most === 1 ? "is" : "are"} undecided or missing.${couldDecide(open)}`;
}

/** How large differences of a probability must be for a verdict at all; empty if none is undecided. */
function couldDecide(open) {
  const n = open.find((c) => c.quantity === DATA.probability)?.difference.n;
  if (!(n >= DATA.min_problems)) return "";
  return ` With ${n} problems, π(a*|q, c) is decided only by large differences: at least ${number(leastDecided(n))} if all are equal.`;
}

/** Which kinds have both properties by every measure, which lack one, and which are undecided. */
function inShort(kinds) {
  const have = kinds.filter(holdsBoth);
  const lack = kinds.filter(({ own }) => own.some((c) => c.verdict === "fails"));
  const open = kinds.filter((kind) => !have.includes(kind) && !lack.includes(kind));
  const asks =
    "The paper asks that a positive be likely under the policy (Property 1) and raise the probability of the right answer (Property 2). ";
  const caveat =
    "Together they guarantee a gain only under the assumption of claim P12-enough, which this page does not check.";
  const best = have.length ? `Both properties hold by every measure: ${named(have)}.` : withoutBoth(kinds, lack);
  return [
    el("p", {}, asks, el("strong", {}, best), have.length ? ` ${caveat}` : ""),
    lack.length ? el("p", {}, `At least one measure says that a property fails: ${named(lack)}.`) : null,
    open.length ? el("p", {}, `No measure fails, but at least one is undecided or missing: ${named(open)}.`) : null,
    el(
      "p",
      { class: "flip" },
      "Brackets hold 95 % intervals over problems: finite-sample intervals for π(a*|q, c), bootstrap intervals for everything else. The claims about Property 2 concern π(a*|q, c); none of them carries over to its logarithm.",
    ),
  ];
}

function answer(source, own) {
  const [likely, signal] = ["in-distribution", "positive learning signal"].map((property) => ofProperty(own, property));
  const claims = [
    ...(likely.length ? DATA.licenses["in-distribution"] : []),
    // P2* compares with J, which is the own CoT's mean.
    ...(signal.some((c) => c.reference === "own") ? DATA.licenses["positive learning signal"] : []),
    ...(signal.length ? DATA.licenses["two CoTs"] : []),
    ...(holdsBoth({ own }) ? DATA.licenses.both : []),
    ...(source === "explanation" ? DATA.licenses.explanation : []),
  ];
  const changes = [...likely.map((c) => change("Property 1", c)), ...signal.map((c) => change("Property 2", c))];
  return el(
    "li",
    { "data-source": source },
    el(
      "p",
      { class: "says" },
      el("strong", {}, `${capital(nameOf(source))}. `),
      ...half("Property 1", likely),
      " ",
      ...half("Property 2", signal),
    ),
    el("p", { class: "flip" }, el("strong", {}, "What would change this: "), changes.join("; "), "."),
    claimsOf(claims),
  );
}

/** One sentence with all comparisons of a property, each with its verdict. */
function half(name, list) {
  if (!list.length) return [`${name} was not measured.`];
  const parts = list.flatMap((c, i) => said(c, list[i - 1]));
  const counts = [...new Set(list.map((c) => c.difference.n))];
  return [
    `${name}: it `,
    ...parts,
    `, n = ${counts.length > 1 ? `${counts.join(" and ")} problems` : plural(counts[0], "problem")}.`,
  ];
}

/** An interval of -x, from one of x. */
const opposite = ({ mean, low, high, n }) => ({ mean: -mean, low: -high, high: -low, n });

/** `is more likely than the expert CoT by 23.4 nats per sequence [17.2, 30.1] (✓ holds)`; a second measure adds only what is new. */
function said(c, before) {
  const nll = c.quantity.startsWith("nll");
  const deciding = c.bounded ?? c.difference;
  const unit = nll ? ` nats ${UNITS[c.quantity]}` : c.quantity === DATA.probability ? "" : " nats";
  const what = nll
    ? `than the ${nameOf(c.reference)}`
    : c.quantity === DATA.probability
      ? `π(a*|q, c)${before ? " itself" : ` against the ${nameOf(c.reference)}`}`
      : `log π(a*|q, c) against the ${nameOf(c.reference)}`;
  if (c.verdict === "undecided") {
    const shown = nll ? `is not shown to be more or less likely ${what}` : `is not shown to change ${what}`;
    // The sentence is about the likelihood, so the NLL difference changes its sign.
    const size = interval(nll ? opposite(deciding) : deciding);
    return [before ? "; it " : "", `${shown} (a difference of `, size, `${unit}; `, verdictMark(c.verdict), ")"];
  }
  const more = c.difference.mean > 0;
  const does = nll
    ? `is ${more ? "less likely" : "more likely"} ${what} by `
    : `${more ? "raises" : "lowers"} ${what} by `;
  const again = before && before.verdict === c.verdict && nll;
  const joined = !before ? does : again ? " and by " : before.verdict === c.verdict ? ` and ${does}` : `; it ${does}`;
  return [joined, interval(more ? deciding : opposite(deciding)), `${unit} (`, verdictMark(c.verdict), ")"];
}

const change = (name, c) => {
  const unit = c.quantity === DATA.probability ? "" : " nats";
  const hangs = c.verdict !== "undecided" && c.largest && c.largest.share >= DATA.hangs;
  const alone = hangs ? ` (problem ${c.largest.problem} alone is ${percent(c.largest.share)} of it)` : "";
  return `${name} ${UNITS[c.quantity]} ${toChange(c.values, c.difference, c.bounded, (x) => `${number(x)}${unit}`)}${alone}`;
};

const DISTANT = 1000;

/** What it takes to change the verdict on a mean of values from -1 to 1 (`bounded`) or of any values. */
function toChange(values, difference, bounded, show) {
  const { mean: middle, n } = difference;
  const { low, high } = bounded ?? difference;
  if (n < DATA.min_problems) return `needs at least ${DATA.min_problems} problems`;
  if (low > 0 || high < 0) {
    return `becomes undecided if the difference shrinks by ${show(low > 0 ? low : -high)}`;
  }
  const times = bounded ? copiesToDecide(values) : ((middle > 0 ? middle - low : high - middle) / middle) ** 2;
  if (!(times < DISTANT))
    return "stays undecided with any practical number of problems, unless the mean moves away from 0";
  const needed = Math.max(Math.ceil(n * times), n + 1);
  return `would be decided with about ${needed.toLocaleString("en")} problems instead of ${n}, if mean and spread stay the same`;
}

/** The claims that support and limit a reading, with their verdicts. */
function claimsOf(ids) {
  const items = [...new Set(ids)].map((id) => {
    const claim = DATA.claims[id];
    return el(
      "li",
      {},
      el("strong", {}, `${id} (${claim.verdict}, ${claim.where}): `),
      claim.statement,
      claim.corrected ? ` What holds: ${claim.corrected}` : "",
    );
  });
  const names = [...new Set(ids)].map((id) => `${id} (${DATA.claims[id].verdict})`).join(", ");
  return el(
    "details",
    { class: "claims" },
    el("summary", {}, `Claims of the ledger that support and limit this reading: ${names}`),
    el("ul", {}, items),
  );
}

// --- Trainings, evaluations and gradients -----------------------------------------------------------------------

const AT_ONCE = 24;

/** The results of trainings, evaluations and gradients, one sentence each, with their claims; null if there are none. */
function outcomes(runs, filters) {
  const items = runs
    .flatMap((run) => [...outcome(run, filters), ...slopesOf(run, filters)])
    .map((parts) => el("li", {}, parts));
  if (!items.length) return null;
  const rest = items.slice(AT_ONCE);
  const having = (table) => runs.some((run) => run.table[table]);
  return el(
    "div",
    {},
    el("ul", { class: "outcomes" }, items.slice(0, AT_ONCE)),
    rest.length
      ? el("details", {}, el("summary", {}, `${plural(rest.length, "more result")}`), el("ul", {}, rest))
      : null,
    claimsOf([
      ...(having("evaluation") ? accuracyClaims() : []),
      ...(having("alignment") ? DATA.licenses.slope : []),
    ]),
  );
}

const accuracyClaims = () =>
  ["accuracy", "finite-sample", "bootstrap"].flatMap((reading) => DATA.licenses[reading]);

/** A sentence on a policy's accuracy, or on how training changed it; none if no problem passes the filters. */
function outcome(run, filters) {
  const { evaluation } = run.table;
  const rows = evaluation ? leftByLevel(evaluation, filters) : [];
  if (!rows.length) return [];
  const steps = stepsOf(evaluation);
  const last = steps.at(-1);
  const after = accuracy(evaluation, rows, last, 1);
  const name = el("strong", {}, `${run.name}: `);
  if (steps.length < 2)
    return [
      [name, `${run.policy} has an accuracy of `, interval(after, percent), `, n = ${plural(after.n, "problem")}.`],
    ];
  const values = pairedDifferences(accuracies(evaluation, rows, last, 1), accuracies(evaluation, rows, steps[0], 1));
  const gained = boundedDifference(values);
  const alone = onTrained(run, rows, steps);
  const verdict = { holds: "is higher", fails: "is lower", undecided: "is not shown to differ" }[verdictOf(gained, 1)];
  return [
    [
      name,
      `after ${plural(last, "step")} of ${run.method}${run.trained_on && ` on ${run.trained_on}`}, accuracy${alone.length ? " on all levels" : ""} ${verdict}: `,
      interval(accuracy(evaluation, rows, steps[0], 1), percent),
      " before, ",
      interval(after, percent),
      " after, a paired difference of ",
      interval(gained, points),
      ` percentage points, n = ${plural(gained.n, "problem")}. This ${toChange(values, gained, gained, (x) => `${points(x)} points`)}.`,
      ...alone,
    ],
  ];
}

/** The accuracy on the levels of the training, if the evaluation has others, too. */
function onTrained(run, rows, steps) {
  const { evaluation } = run.table;
  const own = rows.filter((i) => run.trained_levels.includes(evaluation.level?.[i]));
  if (!own.length || own.length === rows.length) return [];
  const [before, after] = [steps[0], steps.at(-1)].map((step) => interval(accuracy(evaluation, own, step, 1), percent));
  return [` On ${run.trained_on} alone: `, before, " before, ", after, " after."];
}

/** What a small step along each kind of positive does to J, one sentence each. */
function slopesOf(run, filters) {
  const { alignment } = run.table;
  if (!alignment) return [];
  const found = slopes(alignment, leftByLevel(alignment, filters), stepsOf(alignment).at(-1));
  const most = Math.max(0, ...found.map(({ slope }) => slope.n));
  if (!most) return [];
  const name = () => el("strong", {}, `${run.name}: `);
  if (most < DATA.min_problems)
    return [
      [
        name(),
        `slopes of J were measured on ${plural(most, "problem")}; fewer than ${DATA.min_problems} decide nothing.`,
      ],
    ];
  return found.map(({ source, slope, values }) => {
    const does = { holds: "raises J", fails: "lowers J", undecided: "is not shown to change J" }[verdictOf(slope, 1)];
    const then = toChange(values, slope, null, number).replace("the difference", "the slope");
    return [
      name(),
      `a small step along the ${nameOf(source)} ${does}: slope `,
      interval(slope),
      `, n = ${plural(slope.n, "problem")}. This ${then}.`,
    ];
  });
}
