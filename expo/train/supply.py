"""The supply of what is learnt: positives and pairs, made from the policy at some step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from accelerate import PartialState
from trl import DPOTrainer

from expo.schema import as_frame
from expo.tasks.problem import Problem, Skip
from expo.train.chunks import drop_chunks
from expo.train.dpo import score_reference
from expo.train.exp_grpo import ExPGRPOTrainer
from expo.train.given import given, read_texts
from expo.train.pairs import make_pairs
from expo.train.parts import parts_of
from expo.train.positives import as_prompt, make
from expo.train.recipe import SAMPLED
from expo.train.session import Session, on_main, shard_of
from expo.train.steps import rows_between


@dataclass
class Supply:
    """Positives and pairs by step; those written by an earlier process of the run are read, not made again."""

    session: Session

    def positives(self, step: int, problems: Sequence[Problem] | None = None) -> pd.DataFrame:
        """The step's positives, of all or some problems."""
        s = self.session
        if not s.has("positives", step):
            mine = s.share(s.task.problems if problems is None else problems)
            frame, skips = (self._given if s.recipe.positive_data else self._made)(mine, step)
            if step == 0 and PartialState().is_main_process:
                skips = [*s.task.skipped, *s.held_out.skipped, *skips]
            s.write("skips", as_frame("skips", map(vars, skips)), step)
            s.write("positives", frame, step)
            on_main(lambda: drop_chunks(s.run, "positives", step))
        return s.read("positives", step)

    def _made(self, problems: Sequence[Problem], step: int) -> tuple[pd.DataFrame, list[Skip]]:
        s = self.session
        tries = s.recipe.positive_tries
        chunks = s.chunks("positives", step, problems, tries)

        def make_some(some: Sequence[Problem]) -> tuple[pd.DataFrame, list[Skip]]:
            return make(
                s.policy,
                s.checker,
                some,
                s.task.problems,
                s.recipe.positive,
                tries=tries,
                choice=s.recipe.positive_choice,
                tokens=s.recipe.positive_tokens,
                must_be=s.recipe.positive_filter or (),
                **s.sampling(step),
                on_finished=lambda *_: bar.update(),
            )

        # Existing positives are used: there is nothing to wait for.
        total = len(problems) * tries if s.recipe.positive in SAMPLED else 0
        with s.at_rest(), s.bar(f"positives, step {step}", total, chunks.done * tries) as bar:
            return chunks.complete(make_some)

    def _given(self, problems: Sequence[Problem], step: int) -> tuple[pd.DataFrame, list[Skip]]:
        s = self.session
        assert s.recipe.positive_data
        # Checked for all problems: a process without texts in its share carries on.
        texts, bad_rows = read_texts(s.recipe.positive_data, s.task.problems)
        must_be = s.recipe.positive_filter or ()
        frame, missing = given(s.policy, s.checker, problems, texts, s.recipe.positive, must_be, step)
        # Every process reads all rows; only one reports the bad ones.
        return frame, [*(bad_rows if PartialState().is_main_process else []), *missing]

    def pairs(self, step: int, problems: Sequence[Problem], prompts: dict[str, list[int]]) -> pd.DataFrame:
        """The step's pairs of these problems, scored under the initial policy."""
        s = self.session
        if not s.has("pairs", step):
            assert isinstance(s.trainer, DPOTrainer)
            winners = self.positives(step, problems)
            frame, skips = self._with_losers(s.share(problems), winners, step)
            frame = score_reference(s.trainer, s.load_initial().model if step else None, prompts, frame)
            before = s.read("skips", step).to_dict("records") if PartialState().is_main_process else []
            # A run killed at this point had already written them.
            rows: list[dict[Any, Any]] = [*(r for r in before if r["field"] != "loser"), *map(vars, skips)]
            s.write("skips", as_frame("skips", rows), step)
            s.write("pairs", frame, step, [p.id for p in problems])
            on_main(lambda: drop_chunks(s.run, "pairs", step))
        return s.read("pairs", step)

    def _with_losers(
        self, problems: Sequence[Problem], winners: pd.DataFrame, step: int
    ) -> tuple[pd.DataFrame, list[Skip]]:
        s = self.session
        tries = s.recipe.loser_tries
        chunks = s.chunks("pairs", step, problems, tries)

        def make_some(some: Sequence[Problem]) -> tuple[pd.DataFrame, list[Skip]]:
            return make_pairs(
                s.policy,
                s.checker,
                some,
                winners,
                right_losers=s.recipe.right_losers,
                tries=tries,
                **{**s.sampling(step), "temperature": s.args.temperature},
                on_finished=lambda *_: bar.update(),
            )

        with s.at_rest(), s.bar(f"losers, step {step}", len(problems) * tries, chunks.done * tries) as bar:
            return chunks.complete(make_some)

    def refresh(self, step: int) -> None:
        """Give the trainer positives from the current policy, for the problems up to the next refresh."""
        self.positives(step, self._renewed_at(step))
        self.teach(self.in_force(step + 1))

    def _renewed_at(self, step: int) -> Sequence[Problem]:
        """The problems in the steps until the next refresh, in the task's order."""
        s = self.session
        assert isinstance(s.trainer, ExPGRPOTrainer)
        rows = rows_between(s.trainer.args, step, step + s.recipe.refresh_steps)
        names = set(s.trainer.train_dataset["problem"][rows])
        return [p for p in s.task.problems if p.id in names]

    def teach(self, positives: pd.DataFrame) -> None:
        """Give the trainer these positives; a problem without one gets none."""
        s = self.session
        assert isinstance(s.trainer, ExPGRPOTrainer)
        s.trainer.set_positives(
            [as_prompt(s.policy, p) for p in s.task.problems],
            parts_of(positives, s.task.problems),
        )

    def in_force(self, step: int) -> pd.DataFrame:
        """The positives that a run resuming after `step` starts with: the most recent one of each problem."""
        s = self.session
        first, *later = s.steps_before(step, "positives")
        held = s.read("positives", first)
        for begun in later:
            shard = s.read("positives", begun)
            renewed = {p.id for p in self._renewed_at(begun)} | set(shard["problem"])
            held = pd.concat([held[~held["problem"].isin(renewed)], shard])
        return held

    def left_out(self, step: int) -> str:
        """Why there is nothing to learn at a step, and where all reasons are listed."""
        reasons = [str(Skip(*row)) for row in self.session.read("skips", step).itertuples(index=False)]
        first = f", for example {reasons[-1]}" if reasons else ""
        file = self.session.run.file("skips", shard_of(step))
        return f"all were left out{first} (all reasons are in {file})"
