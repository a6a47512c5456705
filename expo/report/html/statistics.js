// The statistics of expo/stats.py: the page's bootstrap resamples exactly the same problems as Python's.

const RESAMPLES = 10000;
const MULTIPLIER = limbsOf(0x2360ed051fc65da44385df649fccf645n);

/** A 128-bit integer as eight limbs of 16 bits, the lowest first. */
function limbsOf(value) {
  return Float64Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(16 * i)) & 0xffffn));
}

/** numpy's PCG64: from its state and increment, a function that returns the next 32 bits. */
function pcg64({ state, increment }) {
  const s = limbsOf(BigInt(state));
  const inc = limbsOf(BigInt(increment));
  const next = new Float64Array(8);
  let kept = -1;
  return () => {
    if (kept >= 0) {
      const half = kept;
      kept = -1;
      return half;
    }
    let carry = 0;
    for (let i = 0; i < 8; i++) {
      let sum = inc[i] + carry;
      for (let j = 0; j <= i; j++) sum += s[j] * MULTIPLIER[i - j];
      carry = Math.floor(sum / 65536);
      next[i] = sum - carry * 65536;
    }
    for (let i = 0; i < 8; i++) s[i] = next[i];
    let low = ((s[1] ^ s[5]) << 16) | (s[0] ^ s[4]);
    let high = ((s[3] ^ s[7]) << 16) | (s[2] ^ s[6]);
    const turn = s[7] >>> 10;
    if (turn >= 32) [low, high] = [high, low];
    const by = turn & 31;
    // In JavaScript a shift by 32 is a shift by 0.
    const over = by ? ~0 : 0;
    kept = ((high >>> by) | ((low << (32 - by)) & over)) >>> 0;
    return ((low >>> by) | ((high << (32 - by)) & over)) >>> 0;
  };
}

const MOST_DRAWN = 1e8;
const drawnOf = new Map();

/** The problems of all resamples of n, `RESAMPLES` x n; kept, since all quantities over n problems use the same. */
function drawn(n) {
  if (!drawnOf.has(n)) {
    const next = pcg64(GENERATOR);
    const threshold = (2 ** 32 - n) % n;
    const indices = new Uint16Array(RESAMPLES * n);
    for (let i = 0; i < indices.length; i++) {
      let product;
      do product = next() * n;
      while (product % 2 ** 32 < threshold);
      indices[i] = product / 2 ** 32;
    }
    // Tables for many problems are large: the oldest ones are dropped to make room.
    while (drawnOf.size && sum([...drawnOf.values()].map((t) => t.length)) + indices.length > MOST_DRAWN) {
      drawnOf.delete(drawnOf.keys().next().value);
    }
    drawnOf.set(n, indices);
  }
  return drawnOf.get(n);
}

const sum = (values) => values.reduce((a, b) => a + b, 0);
const mean = (values) => sum(values) / values.length;
const known = (values) => values.filter((v) => v !== null && !Number.isNaN(v));

/** numpy's percentile of sorted values, by linear interpolation. */
function percentile(sorted, percent) {
  const at = (percent / 100) * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (at - below);
}

/** Mean of one value per problem with its 95 % percentile bootstrap interval: {mean, low, high, n}. */
function bootstrap(values) {
  const n = values.length;
  if (n === 0) return { mean: NaN, low: NaN, high: NaN, n };
  if (n === 1) return { mean: values[0], low: -Infinity, high: Infinity, n };
  const indices = drawn(n);
  const numbers = Float64Array.from(values);
  const means = new Float64Array(RESAMPLES);
  for (let i = 0, at = 0; i < RESAMPLES; i++) {
    let total = 0;
    for (let j = 0; j < n; j++) total += numbers[indices[at++]];
    means[i] = total / n;
  }
  means.sort();
  return { mean: mean(values), low: percentile(means, 2.5), high: percentile(means, 97.5), n };
}

/** `bootstrap` of values from 0 to 1; if all are 0, or all are 1, the exact binomial interval. */
function bootstrapRate(values) {
  const rate = bootstrap(values);
  if (!rate.n) return rate;
  if (rate.n > 1 && rate.low === rate.high && (rate.mean === 0 || rate.mean === 1)) {
    const reach = 1 - 0.025 ** (1 / rate.n);
    rate.low = rate.mean - reach;
    rate.high = rate.mean + reach;
  }
  return { ...rate, low: Math.max(rate.low, 0), high: Math.min(rate.high, 1) };
}

/** Mean of values from `least` to `most` with a 95 % interval whose level holds at every n (claim COV-bets). */
function finiteSample(values, least = 0, most = 1) {
  if (!values.length) return { mean: NaN, low: NaN, high: NaN, n: 0 };
  const scaled = values.map((v) => (v - least) / (most - least));
  const ends = [lowerEnd(scaled), 1 - lowerEnd(scaled.map((v) => 1 - v))];
  const [low, high] = ends.map((end) => least + (most - least) * end);
  const middle = mean(values);
  return { mean: middle, low: Math.min(low, middle), high: Math.max(high, middle), n: values.length };
}

/** `finiteSample` of differences between values from 0 to 1, such as two probabilities or two accuracies. */
const boundedDifference = (values) => finiteSample(values, -1, 1);

const BETS = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((i) => i / 10);
// The logarithm of the total capital of all bets at which a mean is excluded.
const GOAL = Math.log(40 * BETS.length);

function lowerEnd(values) {
  let leftOut = 0;
  let end = mean(values);
  while (end - leftOut > 1e-9) {
    const middle = (leftOut + end) / 2;
    const logs = BETS.map((bet) => sum(values.map((v) => Math.log1p(bet * (v / middle - 1)))));
    const largest = Math.max(...logs);
    const wealth = largest + Math.log(sum(logs.map((l) => Math.exp(l - largest))));
    if (wealth >= GOAL) leftOut = middle;
    else end = middle;
  }
  return leftOut;
}

/** How many copies of values from -1 to 1 it takes until `finiteSample` excludes 0; Infinity if none are enough. */
function copiesToDecide(values) {
  const side = sum(values) < 0 ? -1 : 1;
  const logs = BETS.map((bet) => sum(values.map((v) => Math.log1p(bet * side * v))));
  const largest = Math.max(...logs);
  if (!(largest > 0)) return Infinity;
  const wins = (copies) => largest * copies + Math.log(sum(logs.map((l) => Math.exp(copies * (l - largest))))) >= GOAL;
  let [few, many] = [0, GOAL / largest];
  while (many - few > 1e-6 * many) {
    const middle = (few + many) / 2;
    if (wins(middle)) many = middle;
    else few = middle;
  }
  return many;
}

/** The smallest difference, the same for all n problems, whose `finiteSample` excludes 0. */
function leastDecided(n) {
  let [undecided, decided] = [0, 1];
  while (decided - undecided > 1e-6) {
    const middle = (undecided + decided) / 2;
    if (copiesToDecide([middle]) <= n) decided = middle;
    else undecided = middle;
  }
  return decided;
}

/** 1 - C(n-c, k) / C(n, k): the unbiased pass@k from n samples of which c are right (claim PASSK). */
function passAtK(n, right, k) {
  if (n - right < k) return 1;
  let miss = 1;
  for (let i = n - right + 1; i <= n; i++) miss *= 1 - k / i;
  return 1 - miss;
}

/** Means of values by group, in order of group number; groups without a value are left out. */
function meansBy(groups, values) {
  const sums = new Map();
  groups.forEach((group, i) => {
    if (values[i] === null || Number.isNaN(values[i])) return;
    const [total, count] = sums.get(group) ?? [0, 0];
    sums.set(group, [total + values[i], count + 1]);
  });
  return new Map([...sums].sort((a, b) => a[0] - b[0]).map(([group, [total, count]]) => [group, total / count]));
}
