"""A user's own reward function: found by name, checked before the run, its values checked at each step."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import logging
import math
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from trl.trainer.utils import is_async_callable

from expo.train.rewards import AnswerReward, BadReward

# Passed by TRL as keyword arguments.
_GIVEN = ("prompts", "completions", "completion_ids", "problem", "answer", "level", "positive")
_ALSO_GIVEN = ("trainer_state", "log_extra", "log_metric")


@dataclass(frozen=True)
class OwnReward:
    """A reward function as the recipe names it (`place`), callable with keyword arguments; its values are checked.

    `files` are the files that define its module and the function itself.
    """

    place: str
    function: Callable[..., Any]
    files: tuple[Path, ...]

    def graded_beside(self, watched: Callable[..., Any], answer: AnswerReward) -> Callable[..., Any]:
        """`watched`, the function as the trainer calls it; it also grades the answers for the record.

        TRL excludes a completion from its group if every reward function returns None for it. A second function that
        grades would always return a number, so TRL is not given the grades that way.
        """

        # None is allowed; TRL warns about it at each step, with all that was passed.
        trainer_log = logging.getLogger("trl.trainer.grpo_trainer")
        trainer_log.addFilter(_is_of_something_else)

        def graded(rewards: list[float | None], given: dict[str, Any]) -> list[float | None]:
            grades = answer(**given)
            given["log_extra"]("answer_reward", grades)
            for grade in grades:
                given["log_metric"](f"rewards/{answer.__name__}/mean", grade)
            return rewards

        if is_async_callable(watched):

            async def later(**given: Any) -> list[float | None]:
                try:
                    rewards = await watched(**given)
                except BadReward:
                    raise
                except Exception as error:
                    raise RuntimeError(self._failure(error)) from error
                return graded(rewards, given)

            return later

        def at_once(**given: Any) -> list[float | None]:
            try:
                rewards = watched(**given)
            except BadReward:
                raise
            except Exception as error:
                raise RuntimeError(self._failure(error)) from error
            return graded(rewards, given)

        return at_once

    def _failure(self, error: Exception) -> str:
        """What the function raised, with the last line reached in the user's file."""
        # The trainer's own error names the function and the completion.
        named = isinstance(error, RuntimeError) and str(error).startswith("reward function")
        said = str(error) if named else f"reward: {self.place} raised {type(error).__name__}: {error}"
        raised: BaseException | None = error
        while raised is not None:
            for frame in reversed(traceback.extract_tb(raised.__traceback__)):
                if Path(frame.filename) in self.files:
                    return f"{said}\n{frame.filename}, line {frame.lineno}, in {frame.name}: {frame.line}"
            raised = raised.__cause__
        return said


def _is_of_something_else(record: logging.LogRecord) -> bool:
    return "All reward functions returned None" not in str(record.msg)


def own_reward(place: str) -> OwnReward:
    """Load a user's reward function, named as `module:function` or `path/to/file.py:function`; this runs its module.

    TRL calls it with `prompts`, `completions`, `completion_ids` and the dataset's `problem`, `answer`, `level` and
    `positive` (a list of texts as mappings, see `parts_of`). Any callable will do: a function, async or not, a
    `functools.partial`, or an object with `__call__`.

    Raises:
        ValueError: if there is no such function, or it cannot be called with these arguments.
    """
    where, _, name = place.rpartition(":")
    if not where or not name.isidentifier():
        raise ValueError(
            f"reward: {place!r} does not name a function; write module:function or path/to/file.py:function"
        )
    file = Path(where).expanduser()
    if where.endswith(".py") and not file.exists():
        raise ValueError(f"reward: {where}: no such file")
    try:
        module = _module(str(file.resolve()) if where.endswith(".py") else where)
    except Exception as error:
        raise ValueError(f"reward: {where} cannot be imported: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if inspect.isclass(function):
        raise ValueError(f"reward: {place} is a class; name an instance of it, such as `reward = {name}()`")
    if not callable(function):
        callables = (n for n, value in vars(module).items() if callable(value) and not inspect.isclass(value))
        there = sorted(n for n in callables if not n.startswith("_"))
        raise ValueError(f"reward: {where} has no function {name!r}; it has {', '.join(there) or 'none'}")
    if name == "answer":
        raise ValueError(f"reward: the name {name!r} is reserved for counting right answers; rename your function")
    _check_arguments(place, function)
    return OwnReward(place, _named(place, function), _files_of(function, module))


def source_of(reward: OwnReward) -> str:
    """The first digits of the SHA-256 of the files that define a reward function."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in reward.files)).hexdigest()[:12]


def in_plan(place: str | None) -> str:
    """The line of a training plan with the reward function and its file; empty without one.

    Raises:
        ValueError: see `own_reward`.
    """
    if place is None:
        return ""
    files = own_reward(place).files
    return f"\nreward        {place}" + (f", from {' and '.join(map(str, files))}" if files else "")


@functools.cache
def _module(where: str) -> ModuleType:
    """Load a module by name, or a file as a module; it runs once. Modules in the working folder are found."""
    if where.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(where).stem, where)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Where dataclasses look up their module.
        sys.modules.setdefault(module.__name__, module)
        spec.loader.exec_module(module)
        return module
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(where)
    finally:
        sys.path.remove(str(Path.cwd()))


def _check_arguments(place: str, function: Callable[..., Any]) -> None:
    """Reject a function that does not accept TRL's keyword arguments, before anything is sampled."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        # Compiled code may have no signature.
        return
    try:
        signature.bind(**dict.fromkeys((*_GIVEN, *_ALSO_GIVEN)))
    except TypeError as error:
        raise ValueError(
            f"reward: {place} takes {signature}, but is called with the keyword arguments "
            f"{', '.join(_GIVEN)} and others: {error}. Name the ones that you use, and add **_ for the rest"
        ) from error


def _named(place: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with checked values, under the name that TRL logs: partials and objects have none."""

    async def later(**given: Any) -> list[float | None]:
        return _values(await function(**given), given["completions"], place)

    def at_once(**given: Any) -> list[float | None]:
        return _values(function(**given), given["completions"], place)

    named = later if is_async_callable(function) else at_once
    named.__name__ = place.rpartition(":")[2]
    return named


def _files_of(function: Any, module: ModuleType) -> tuple[Path, ...]:
    """The module's file, and the function's file if it is another."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    # Compiled code and members of built-in modules have no file.
    files = [Path(file)] if (file := getattr(module, "__file__", None)) else []
    with suppress(TypeError):
        files.append(Path(inspect.getfile(inspect.unwrap(function))))
    return tuple(dict.fromkeys(files))


def _values(rewards: Any, completions: list[Any], place: str) -> list[float | None]:
    """Convert rewards to numbers; None, which means "does not apply" to TRL, is kept.

    Raises:
        BadReward: if they are not one finite number or None per completion.
    """
    try:
        # A set has no defined order.
        values = None if isinstance(rewards, str | bytes | dict | set | frozenset) else list(rewards)
    except TypeError:
        values = None
    if values is None:
        raise BadReward(f"reward: {place} returned {rewards!r:.100}; it must return a list, one reward per completion")
    if len(values) != len(completions):
        raise BadReward(f"reward: {place} returned {len(values)} rewards for {len(completions)} completions")
    return [_number(value, place, at, completions[at]) for at, value in enumerate(values)]


def _number(value: Any, place: str, at: int, completion: Any) -> float | None:
    """Convert a reward, given as a Python, NumPy or tensor number; numeric text is not accepted."""
    if value is None:
        return None
    with suppress(TypeError, ValueError, RuntimeError, OverflowError):
        if not isinstance(value, str | bytes) and math.isfinite(number := float(value)):
            return number
    raise BadReward(
        f"reward: {place} returned {value!r:.100} for completion {at} (counted from 0); a reward must be a "
        f"finite number, or None if it does not apply. That completion: {completion!r:.300}"
    )
