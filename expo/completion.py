"""Shell completion: a script for bash, zsh or fish that holds the jobs, their flags and the flags' values.

The printed script contains all of them, so completion never starts Python.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

from expo.flags import LIST_FLAGS, PATHS, Listed
from expo.policies.engine import ENGINES
from expo.policies.names import BASES, DTYPE_NAMES, SMOLLM2
from expo.recipe import GRADIENT_CHOICES
from expo.schema import SOURCES
from expo.study import STUDIES
from expo.tasks import GRADERS, STEP_CHECKERS, TASKS
from expo.train.recipe import ALGORITHMS, CHOICES, POSITIVES, TOKENS, WANTED

SHELLS = ("bash", "zsh", "fish")
# The values of flags that have only a few; some, such as --policy, accept others too.
VALUES: dict[str, tuple[str, ...]] = {
    "task": tuple(TASKS),
    "policy": (SMOLLM2, *sorted(folder.name for folder in BASES.glob("tiny-*"))),
    **dict.fromkeys(("split", "eval_split"), ("train", "test")),
    "dtype": ("auto", *DTYPE_NAMES),
    "sampling_dtype": DTYPE_NAMES,
    "engine": ENGINES,
    "grader": GRADERS,
    "step_checker": tuple(STEP_CHECKERS),
    "sources": SOURCES,
    "choices": GRADIENT_CHOICES,
    "algorithm": ALGORITHMS,
    "positive": POSITIVES,
    "positive_choice": CHOICES,
    "positive_tokens": TOKENS,
    "positive_filter": WANTED,
    "shell": SHELLS,
    "study": tuple(sorted(path.stem for path in STUDIES.glob("*.yaml"))),
}
Job = Callable[[list[str]], int]


def script(shell: str, jobs: Mapping[str, Job]) -> str:
    """The completion script of a shell, for these jobs by name.

    Raises:
        ValueError: for another shell.
    """
    if shell not in SHELLS:
        raise ValueError(f"shell: unknown shell {shell!r}; choose from {', '.join(SHELLS)}")
    actions = {name: _actions(name, job) for name, job in jobs.items()}
    flags = {name: [action.dest for action in of_job] for name, of_job in actions.items()}
    values = {action.dest: _values(action) for of_job in actions.values() for action in of_job}
    values = {flag: words for flag, words in values.items() if words}
    if shell == "fish":
        return _fish(flags, values)
    # zsh runs functions that were written for bash.
    return ("autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else "") + _bash(flags, values)


def _actions(name: str, job: Job) -> list[argparse.Action]:
    """The flags of a job; for training, those of every algorithm."""
    found: dict[str, argparse.Action] = {}
    for more in [["--algorithm", algorithm] for algorithm in ALGORITHMS] if name == "train" else [[]]:
        try:
            job([*more, LIST_FLAGS])
        except Listed as listed:
            found |= {action.dest: action for action in listed.actions}
    return list(found.values())


def _values(action: argparse.Action) -> tuple[str, ...]:
    # A flag that may stand without a value is true or false.
    return ("true", "false") if action.const is True else VALUES.get(action.dest, ())


def _bash(flags: Mapping[str, Sequence[str]], values: Mapping[str, Sequence[str]]) -> str:
    of_jobs = _cases({job: [f"--{name}" for name in names] for job, names in flags.items()})
    alike: dict[str, list[str]] = {}
    for name, words in values.items():
        alike.setdefault(" ".join(words), []).append(f"--{name}")
    of_flags = _cases({"|".join(names): [words] for words, names in alike.items()})
    return f"""\
_expo() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} words='' flag='' i
    # bash splits --flag=value into three words.
    if [[ $current == '=' ]]; then current=''; fi
    if ((COMP_CWORD == 1)); then
        words='{" ".join(flags)}'
    elif [[ $current == -* ]]; then
        case ${{COMP_WORDS[1]}} in
{of_jobs}
        esac
    else
        for ((i = COMP_CWORD - 1; i > 1; i--)); do
            if [[ ${{COMP_WORDS[i]}} == --* ]]; then flag=${{COMP_WORDS[i]//-/_}}; break; fi
        done
        case ${{flag/__/--}} in
{of_flags}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
# If no word matches, offer files.
complete -o bashdefault -o default -F _expo expo
"""


def _cases(cases: Mapping[str, Sequence[str]]) -> str:
    return "\n".join(f"            {pattern}) words='{' '.join(words)}' ;;" for pattern, words in cases.items())


def _fish(flags: Mapping[str, Sequence[str]], values: Mapping[str, Sequence[str]]) -> str:
    lines = ["complete -c expo -f", f"complete -c expo -n __fish_use_subcommand -a '{' '.join(flags)}'"]
    for job, names in flags.items():
        for name in names:
            words = f" -a '{' '.join(values[name])}'" if name in values else ""
            files = "-r -F" if name in PATHS or not words else "-x"
            lines.append(f"complete -c expo -n '__fish_seen_subcommand_from {job}' -l {name} {files}{words}")
    return "\n".join([*lines, ""])
