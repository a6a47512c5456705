"""Run every benchmark and print a table: `python -m benchmarks [--problems N] [--new-tokens N]`."""

from __future__ import annotations

import argparse

from benchmarks import gradients, preferences, sampling, scoring, training, watching
from expo.policies.load import load_policy
from expo.tasks import chain, load_task
from expo.tasks.prompts import TEXT


def main() -> None:
    """Print each figure with the work that it was measured on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="smollm2-135m")
    parser.add_argument("--problems", type=int, default=16)
    # 8 is TRL's num_generations; its own limit of 512 tokens would double the time of a run.
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=256)
    arguments = parser.parse_args()
    policy = load_policy(arguments.policy, TEXT)
    problems = load_task("stories", problems=arguments.problems).problems
    for result in (
        sampling.run(policy, problems, arguments.samples, arguments.new_tokens),
        scoring.run(policy, problems, 4, 100),
    ):
        print(result, flush=True)
    print(training.run("tiny-0", "chain", chain.load("train", 64).problems, 128, 100), flush=True)
    print(training.run(arguments.policy, "stories", problems[:12], 8, 64), flush=True)
    print(preferences.run("tiny-0", "chain", chain.load("train", 64).problems, 16, 80), flush=True)
    print(preferences.run(arguments.policy, "stories", problems, 2, 8), flush=True)
    print(watching.run("tiny-0"), flush=True)
    gradients.main(["--policy", arguments.policy])


if __name__ == "__main__":
    main()
