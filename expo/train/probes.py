"""Measuring the policy during training: accuracy on held-out problems, scores and gradients on training problems."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch

from expo.evaluate import count, evaluate
from expo.gradients.alignment import align_positives, alignment_rows, product_rows, rewards_of, sample_rollouts
from expo.grading.answers import Grade
from expo.measure.samples import sample_row
from expo.policies.engine import Request
from expo.policies.sampling import sample
from expo.policies.scoring import score, whole
from expo.positives.closing import question_ids
from expo.positives.kinds import Positive, from_ids, from_sample
from expo.schema import as_frame
from expo.setup import check_engine_on
from expo.tasks.problem import Problem
from expo.train.config import PairsDPOConfig
from expo.train.session import Session
from expo.train.sharding import unsharded
from expo.train.supply import Supply


@dataclass
class Probes:
    """What is measured before the first step, every `eval_steps`, and after the last."""

    session: Session
    supply: Supply

    def measure(self, step: int) -> None:
        """Write the step's shards of all measurement tables unless they exist; `evaluation` comes last."""
        s = self.session
        if s.has("evaluation", step):
            return
        with s.at_rest():
            if s.policy.engine:
                # Needed here too: an engine without this step's weights would sample another policy.
                check_engine_on(s.policy, s.task.problems)
            tables = {"probes": self._probes(step)}
            evaluation = self._evaluation(step)
            margins = {"margins": self._margins(step)} if self._is_dpo else {}
            gradients = self._gradients(step) if s.recipe.gradient_problems else {}
        for table, frame in {**tables, **gradients, **margins, "evaluation": evaluation}.items():
            s.write(table, frame, step)

    @property
    def _is_dpo(self) -> bool:
        return isinstance(self.session.args, PairsDPOConfig)

    def _evaluation(self, step: int) -> pd.DataFrame:
        s = self.session
        problems = s.share(s.held_out.problems)
        with s.bar(f"evaluation, step {step}", len(problems) * s.recipe.eval_samples) as bar:
            completions = evaluate(
                s.policy,
                s.checker,
                problems,
                samples=s.recipe.eval_samples,
                temperature=s.recipe.eval_temperature,
                max_new_tokens=s.args.max_completion_length,
                seed=s.args.seed,
                rows=s.recipe.rows,
                on_finished=bar.update,
            )
        return count(completions, step)

    def _watched(self, count: int) -> Sequence[Problem]:
        """This process's share of some training problems, the same ones at each step."""
        s, pool = self.session, self.session.task.problems
        if self._is_dpo:
            # A round has positives only for its own problems; those of the first round are watched.
            first = set(s.run.read("positives", min(s.run.shards("positives")))["problem"])
            pool = tuple(p for p in pool if p.id in first)
        return s.share(random.Random(f"probes:{s.args.seed}").sample(pool, min(len(pool), count)))

    def _own_samples(self, problems: Sequence[Problem], name: str, step: int, temperature: float) -> list[Positive]:
        """A fresh own CoT for each problem; `name` selects its random stream."""
        s, limit = self.session, self.session.args.max_completion_length
        asked = [Request(f"{p.id}/{name}", question_ids(s.policy, p), 1, limit) for p in problems]
        seed = s.args.seed + step
        done = sample(s.policy, asked, temperature=temperature, seed=seed, rows=s.recipe.rows)
        return [
            from_sample(s.policy, p, "own", 0, "", completion, s.checker)
            for p, (completion,) in zip(problems, done, strict=True)
        ]

    def _probes(self, step: int) -> pd.DataFrame:
        """Score an own sample and the positive of some training problems under the current policy."""
        s = self.session
        watched = self._watched(s.recipe.probe_problems)
        # The KL is a mean over samples at temperature 1.
        temperature = 1.0 if s.recipe.probe_initial else s.args.temperature
        own = self._own_samples(watched, "probe", step, temperature)
        grades: list[Grade | None] = list(
            s.checker.grade([(p.problem, p.text) for p in own], [p.sampled.truncated for p in own if p.sampled])
        )
        learnt = self._learnt(watched, step)
        scores = score(s.policy, [p.scored for p in own + learnt])
        initial = self._under_the_initial(own)
        rows = [
            {"step": step, **sample_row(s.policy, s.checker, p, g, found), "nll_initial": initial.get(p.scored.key)}
            for p, g, found in zip(own + learnt, grades + [None] * len(learnt), scores, strict=True)
        ]
        return as_frame("probes", rows)

    def _under_the_initial(self, own: Sequence[Positive]) -> dict[str, float]:
        """-log pi_0(c, a|q) of own samples, by key, if requested; pi_0 is the policy before any training."""
        s = self.session
        if not s.recipe.probe_initial:
            return {}
        with unsharded(s.args):
            initial = s.load_untrained()
        initial.model.eval()
        return {
            p.scored.key: found.nll_sum for p, found in zip(own, score(initial, [p.scored for p in own]), strict=True)
        }

    def _gradients(self, step: int) -> dict[str, pd.DataFrame]:
        """Gradients of a fresh own sample and the positive of some training problems, and the slope of J along them."""
        s, limit = self.session, self.session.args.max_completion_length
        seed = s.args.seed + step
        rows: list[dict[Any, Any]] = []
        products = []
        # Gradients are those of the current weights, in their own precision.
        engine, s.policy.engine = s.policy.engine, None
        if engine:
            engine.close()  # which frees the memory that gradients need
        with torch.autocast(s.policy.device.type, enabled=False):
            watched = self._watched(s.recipe.gradient_problems)
            learnt = {p.problem.id: p for p in self._learnt(watched, step)}
            sampled = self._own_samples(watched, "gradient", step, s.args.temperature)
            for problem, own in zip(watched, sampled, strict=True):
                positives = [own, *([learnt[problem.id]] if problem.id in learnt else [])]
                n = s.recipe.gradient_rollouts
                rollouts, right = sample_rollouts(s.policy, s.checker, problem, n, limit, seed, s.recipe.rows)
                rewards = rewards_of(s.policy, s.checker, positives, limit)
                alignments, gradients = align_positives(s.policy, positives, rollouts, right, rewards)
                of_problem = alignment_rows(s.policy, positives, alignments, rollouts, step)
                rows += of_problem
                products.append(product_rows(of_problem, gradients, step))
        s.policy.engine = engine
        # A process may have no problems in its share.
        joined = pd.concat(products) if products else as_frame("gradients")
        return {"alignment": as_frame("alignment", rows), "gradients": joined}

    def _margins(self, step: int) -> pd.DataFrame:
        """Score some pairs of the first round and of the current one under the current policy."""
        s = self.session
        rounds = s.steps_before(step, "pairs")
        chosen: list[dict[Any, Any]] = []
        for begun in sorted({rounds[0], rounds[-1]}):
            # In training order, so that offline and online runs watch the same problems.
            chosen += s.share(s.read("pairs", begun).to_dict("records")[: s.recipe.probe_problems])
        prompts = {p.id: question_ids(s.policy, p) for p in s.task.problems if p.id in {r["problem"] for r in chosen}}
        sides = [(r, side) for r in chosen for side in ("winner", "loser")]
        scores = score(s.policy, [whole(prompts[r["problem"]], r[f"{side}_ids"], r["problem"]) for r, side in sides])
        copied = ("problem", "level", "winner_tokens", "loser_tokens", "ref_winner", "ref_loser")
        rows = [
            {
                "step": step,
                "sampled": r["step"],
                **{name: r[name] for name in copied},
                "winner": -scores[2 * i].nll_sum,
                "loser": -scores[2 * i + 1].nll_sum,
            }
            for i, r in enumerate(chosen)
        ]
        return as_frame("margins", rows)

    def _learnt(self, problems: Sequence[Problem], step: int) -> list[Positive]:
        """The problems' positives at this step; under DPO, the most recent one from any round for each problem."""
        s = self.session
        if self._is_dpo:
            rounds = [s.read("positives", begun) for begun in s.steps_before(step, "positives")]
            frame = pd.concat(rounds).drop_duplicates("problem", keep="last")
        else:
            frame = self.supply.in_force(step)
        # Among several, the one with the largest weight.
        heaviest = frame.assign(weight=frame["weight"].fillna(1.0)).sort_values("weight", kind="stable")
        by_problem = heaviest.drop_duplicates("problem", keep="last").set_index("problem")
        rows = [(p, by_problem.loc[p.id].to_dict()) for p in problems if p.id in by_problem.index]
        return [
            replace(
                from_ids(s.policy, p, str(r["source"]), [int(i) for i in r["ids"]], int(r["cot_tokens"])),
                hint=str(r["hint"]),
            )
            for p, r in rows
        ]
