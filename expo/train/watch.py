"""Measuring the policy while it is trained: accuracy on held-out problems, scores of some it is trained on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from tqdm import tqdm
from trl import DPOTrainer, SFTTrainer
from trl.models.utils import unwrap_model_for_generation

from expo.evaluate import evaluate
from expo.grading import Checker
from expo.grading.answers import Grade
from expo.measure.alignment import align_positives, alignment_rows, product_rows, rewards_of, roll
from expo.measure.run import row
from expo.policies.policy import Policy
from expo.policies.sampling import Request, sample
from expo.policies.scoring import score, whole
from expo.positives import Positive, from_ids, from_sample, question_ids
from expo.records import Run
from expo.tables import as_frame
from expo.tasks import Task
from expo.tasks.problem import Problem, Skip
from expo.train.config import Configuration, PairsDPOConfig
from expo.train.dpo import score_reference
from expo.train.exp_grpo import ExPGRPOTrainer
from expo.train.pairs import make_pairs
from expo.train.positives import as_prompt, make
from expo.train.recipe import TrainRecipe


@dataclass
class Watch:
    """What is done with the policy between its steps; each process takes its share of the problems.

    Where several processes hold parts of the weights, each gathers them all for as long as it samples and scores.
    """

    run: Run
    recipe: TrainRecipe
    args: Configuration
    policy: Policy
    checker: Checker
    task: Task
    held_out: Task
    progress: bool
    on_step: Callable[[], object]
    trainer: ExPGRPOTrainer | DPOTrainer | SFTTrainer | None = None

    def measure(self, step: int) -> None:
        """Write the step's parts of `probes` and `evaluation`, unless they are there."""
        part = f"{step:06d}"
        if on_main(lambda: part in self.run.parts("evaluation")):
            return
        with self._at_rest():
            probes, evaluation = self._probes(step), self._evaluation(step)
            margins = self._margins(step) if isinstance(self.args, PairsDPOConfig) else None
            measured = self._gradients(step) if self.recipe.gradient_problems else None
        self._write("probes", probes, part)
        if measured is not None:
            for table, frame in measured.items():
                self._write(table, frame, part)
        if margins is not None:
            self._write("margins", margins, part)
        self._write("evaluation", evaluation, part)

    def refresh(self, step: int) -> None:
        """Positives from the policy as it is now, in place of those held."""
        self.hold(self.positives(step))

    def hold(self, positives: pd.DataFrame) -> None:
        """Have the trainer learn these; a problem that has none is left without."""
        held = dict(zip(positives["problem"], positives["ids"], strict=True))
        assert isinstance(self.trainer, ExPGRPOTrainer)
        self.trainer.set_positives(
            (as_prompt(self.policy, p) for p in self.task.problems),
            ([int(i) for i in held[p.id]] if p.id in held else None for p in self.task.problems),
        )

    def positives(self, step: int, of: Sequence[Problem] | None = None) -> pd.DataFrame:
        """The step's part of `positives`, of all problems or of some, made now unless it is there."""
        part = f"{step:06d}"
        if not on_main(lambda: part in self.run.parts("positives")):
            problems = self._share(self.task.problems if of is None else of)
            with (
                self._at_rest(),
                self._bar(f"positives, step {step}", len(problems) * self.recipe.positive_tries) as bar,
            ):
                frame, skips = make(
                    self.policy,
                    self.checker,
                    problems,
                    self.task.problems,
                    self.recipe.positive,
                    tries=self.recipe.positive_tries,
                    **self._sampling(step),
                    on_finished=lambda _: bar.update(),
                )
            if step == 0 and PartialState().is_main_process:
                skips = [*self.task.skipped, *self.held_out.skipped, *skips]
            self._write("skips", as_frame("skips", map(vars, skips)), part)
            self._write("positives", frame, part)
        return self.run.read("positives", part)

    def pairs(
        self, step: int, of: Sequence[Problem], prompts: dict[str, list[int]], reference: Callable[[], Policy]
    ) -> pd.DataFrame:
        """The step's part of `pairs` of these problems, made now unless it is there."""
        part = f"{step:06d}"
        if not on_main(lambda: part in self.run.parts("pairs")):
            assert isinstance(self.trainer, DPOTrainer)
            winners, problems = self.positives(step, of), self._share(of)
            with self._at_rest(), self._bar(f"losers, step {step}", len(problems) * self.recipe.loser_tries) as bar:
                frame, skips = make_pairs(
                    self.policy,
                    self.checker,
                    problems,
                    winners,
                    right_losers=self.recipe.right_losers,
                    tries=self.recipe.loser_tries,
                    **self._sampling(step),
                    on_finished=lambda _: bar.update(),
                )
            frame = score_reference(self.trainer, reference().model if step else None, prompts, frame)
            held = self.run.read("skips", part).to_dict("records") if PartialState().is_main_process else []
            # A run that was killed just here wrote them before.
            rows: list[dict[Any, Any]] = [*(r for r in held if r["field"] != "loser"), *map(vars, skips)]
            self._write("skips", as_frame("skips", rows), part)
            self._write("pairs", frame, part, [p.id for p in of])
        return self.run.read("pairs", part)

    def left_out(self, step: int) -> str:
        """Why there is nothing to learn at a step, and where all the reasons stand."""
        part = f"{step:06d}"
        of_each = [str(Skip(*row)) for row in self.run.read("skips", part).itertuples(index=False)]
        first = f", as {of_each[-1]}" if of_each else ""
        return f"all were left out{first} (each in {self.run.path('parts', 'skips', f'{part}.parquet')})"

    def positives_in_force(self, step: int) -> pd.DataFrame:
        """Those that the step after `step` of a run that goes on begins with: of the last refresh before it."""
        return self.run.read("positives", self._up_to(step, "positives")[-1])

    def _up_to(self, step: int, table: str) -> list[str]:
        """The parts of a table from which the policy of this step has learnt, or which it begins with, oldest first."""
        return sorted(p for p in self.run.parts(table) if int(p) < max(step, 1))

    def _sampling(self, step: int) -> dict[str, Any]:
        """How positives and losers are sampled."""
        return {
            "temperature": self.args.temperature,
            "max_new_tokens": self.args.max_completion_length,
            "seed": self.args.seed,
            "step": step,
            "rows": self.recipe.rows,
        }

    @contextmanager
    def _at_rest(self) -> Iterator[None]:
        """The policy whole, in evaluation mode, and computing as it does in training."""
        computing = torch.autocast(self.policy.device.type, torch.bfloat16, enabled=self.args.bf16)
        if self.trainer is None:
            with computing:
                yield
            return
        wrapped, accelerator = self.trainer.model_wrapped, self.trainer.accelerator
        with computing, unwrap_model_for_generation(wrapped, accelerator) as model:
            was_training = model.training
            self.policy.model = model.eval()
            yield
            model.train(was_training)

    def _write(self, table: str, frame: pd.DataFrame, part: str, order: Sequence[str] = ()) -> None:
        rows = gather_object(frame.to_dict("records"))
        if order:
            place = {problem: i for i, problem in enumerate(order)}
            rows = sorted(rows, key=lambda row: place[row["problem"]])
        if PartialState().is_main_process:
            self.run.write(table, as_frame(table, rows), part)
        PartialState().wait_for_everyone()

    def _bar(self, what: str, total: int) -> tqdm:
        shown = self.progress and PartialState().is_main_process
        return tqdm(desc=what, total=total, unit="sample", disable=not shown, leave=False)

    def _share(self, problems: Sequence[Problem]) -> Sequence[Problem]:
        state = PartialState()
        return problems[state.process_index :: state.num_processes]

    def _evaluation(self, step: int) -> pd.DataFrame:
        problems = self._share(self.held_out.problems)
        with self._bar(f"evaluation, step {step}", len(problems) * self.recipe.eval_samples) as bar:
            return evaluate(
                self.policy,
                self.checker,
                problems,
                samples=self.recipe.eval_samples,
                temperature=self.recipe.eval_temperature,
                max_new_tokens=self.args.max_completion_length,
                seed=self.args.seed,
                step=step,
                rows=self.recipe.rows,
                on_finished=lambda _: bar.update(),
            )

    def _watched(self, count: int) -> Sequence[Problem]:
        """This process's share of some training problems, the same at each step."""
        pool = self.task.problems
        if isinstance(self.args, PairsDPOConfig):
            # A round has positives of its own problems alone; those of the first are watched.
            first = set(self.run.read("positives", min(self.run.parts("positives")))["problem"])
            pool = tuple(p for p in pool if p.id in first)
        return self._share(random.Random(f"probes:{self.args.seed}").sample(pool, min(len(pool), count)))

    def _gradients(self, step: int) -> dict[str, pd.DataFrame]:
        """Of some training problems a fresh own sample and the positive: their gradients, and J's slope along them."""
        rows: list[dict[Any, Any]] = []
        products = []
        seed, limit = self.args.seed + step, self.args.max_completion_length
        # Gradients are those of the weights as they are, in their own precision.
        with torch.autocast(self.policy.device.type, enabled=False):
            watched = self._watched(self.recipe.gradient_problems)
            learnt = {p.problem.id: p for p in self._learnt(watched, step)}
            asked = [Request(f"{p.id}/gradient", question_ids(self.policy, p), 1, limit) for p in watched]
            sampled = sample(self.policy, asked, temperature=self.args.temperature, seed=seed, rows=self.recipe.rows)
            for problem, (own,) in zip(watched, sampled, strict=True):
                positives = [from_sample(self.policy, problem, "own", 0, "", own, self.checker)]
                positives += [learnt[problem.id]] if problem.id in learnt else []
                n = self.recipe.gradient_rollouts
                rollouts, right = roll(self.policy, self.checker, problem, n, limit, seed, self.recipe.rows)
                rewards = rewards_of(self.policy, self.checker, positives, limit)
                found, gradients = align_positives(self.policy, positives, rollouts, right, rewards)
                some = alignment_rows(self.policy, positives, found, rollouts, step)
                rows += some
                products.append(product_rows(some, gradients, step))
        # A process may have no share of the problems.
        none = as_frame("gradients")
        alignment = as_frame("alignment", rows)
        return {"alignment": alignment, "gradients": pd.concat(products) if products else none}

    def _probes(self, step: int) -> pd.DataFrame:
        """An own sample of some training problems, and their positives, scored under the policy as it is now."""
        probed = self._watched(self.recipe.probe_problems)
        limit = self.args.max_completion_length
        requests = [Request(f"{p.id}/probe", question_ids(self.policy, p), 1, limit) for p in probed]
        seed = self.args.seed + step
        done = sample(self.policy, requests, temperature=self.args.temperature, seed=seed, rows=self.recipe.rows)
        own = [from_sample(self.policy, p, "own", 0, "", c, self.checker) for p, (c,) in zip(probed, done, strict=True)]
        grades: list[Grade | None] = list(self.checker.grade([(p.problem, p.text) for p in own]))
        learnt = self._learnt(probed, step)
        scores = score(self.policy, [p.scored for p in own + learnt])
        table = [
            {"step": step, **row(self.policy, self.checker, p, g, s)}
            for p, g, s in zip(own + learnt, grades + [None] * len(learnt), scores, strict=True)
        ]
        return as_frame("probes", table)

    def _margins(self, step: int) -> pd.DataFrame:
        """Some pairs of the first round and of the one in force, scored under the policy as it is now."""
        parts = self._up_to(step, "pairs")
        chosen: list[dict[Any, Any]] = []
        for part in sorted({parts[0], parts[-1]}):
            # In the order of training, so that offline and online watch the same problems.
            held = self.run.read("pairs", part).to_dict("records")
            count = min(len(held), self.recipe.probe_problems)
            chosen += held[:count][PartialState().process_index :: PartialState().num_processes]
        problems = {p.id: p for p in self.task.problems}
        scores = score(
            self.policy,
            [
                whole(question_ids(self.policy, problems[r["problem"]]), r[f"{side}_ids"], r["problem"])
                for r in chosen
                for side in ("winner", "loser")
            ],
        )
        copied = ("problem", "level", "winner_tokens", "loser_tokens", "ref_winner", "ref_loser")
        table = [
            {
                "step": step,
                "sampled": r["step"],
                **{name: r[name] for name in copied},
                "winner": -scores[2 * i].nll_sum,
                "loser": -scores[2 * i + 1].nll_sum,
            }
            for i, r in enumerate(chosen)
        ]
        return as_frame("margins", table)

    def _learnt(self, problems: Sequence[Problem], step: int) -> list[Positive]:
        """The positives of the problems as they are at this step; under DPO the last that a round had of each."""
        if isinstance(self.args, PairsDPOConfig):
            every = pd.concat([self.run.read("positives", p) for p in self._up_to(step, "positives")])
            held = every.drop_duplicates("problem", keep="last").set_index("problem")
        else:
            held = self.positives_in_force(step).set_index("problem")
        rows = [(p, held.loc[p.id].to_dict()) for p in problems if p.id in held.index]
        return [
            replace(
                from_ids(self.policy, p, str(r["source"]), [int(i) for i in r["ids"]], int(r["cot_tokens"])),
                hint=str(r["hint"]),
            )
            for p, r in rows
        ]


def on_main(ask: Callable[[], Any]) -> Any:
    """What the main process finds, told to all: the others may read the disk at another moment."""
    answer = [ask() if PartialState().is_main_process else None]
    return broadcast_object_list(answer)[0]
