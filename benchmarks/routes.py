"""Ways to do the same work, each in a separate process, in turns, so that a slow machine affects all of them alike."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.worker import Turn

ROOT = Path(__file__).parents[1]
MOST_ROUNDS = 21
PEERS = "pip install --target build/peers --no-deps -r benchmarks/requirements.txt"
Work = Callable[[], Any]


class RouteError(Exception):
    """A route cannot be used: something that it needs is missing, or its process has failed."""


@dataclass(frozen=True)
class Route:
    """A way to do some work.

    Args:
        name: its name on the page.
        prepare: loads, warms up, and returns what does the work once; a function of a module, or a partial of one.
        package: what it is measured in, for its version; "" is this project.
        folder: where a package is that the project does not install.
        install: the command that installs it there.
    """

    name: str
    prepare: Callable[[], Work]
    package: str = ""
    folder: str = ""
    install: str = ""

    def check(self) -> None:
        """Reject a route whose package is missing.

        Raises:
            RouteError: with the command that installs it.
        """
        module = self.package.replace("-", "_")
        if self.folder and not (ROOT / self.folder / module).exists() and not find_spec(module):
            raise RouteError(f"{self.package} is not installed; install it into {self.folder} with `{self.install}`")


@dataclass(frozen=True)
class Comparison:
    """The same work by this project's route, the first, and by its peers.

    Args:
        name: topic/name; `python -m benchmarks` takes it.
        work: what is done, in words.
        routes: ours first.
        per: what the value of a turn counts, where routes do not do the same amount: their times are divided by it.
        facts: what else there is to say of the turns of ours and of a peer.
    """

    name: str
    work: str
    routes: Sequence[Route]
    per: str = ""
    facts: Callable[[list[Turn], list[Turn]], dict[str, float]] = lambda *_: {}


class RouteProcess:
    """The process of a route, with its work prepared.

    Raises:
        RouteError: if it fails, with its last output.
    """

    def __init__(self, route: Route) -> None:
        route.check()
        self.route, self.log = route, tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process is)
        self.pipe, theirs = Pipe()
        paths = [str(ROOT / route.folder)] if route.folder else []
        path = os.pathsep.join([*paths, str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        theirs.close()
        try:
            self._ask(route.prepare)
        except RouteError:
            self.close()
            raise

    def turn(self) -> Turn:
        """Have the work done once."""
        return Turn(*self._ask(None))

    def _ask(self, what: Any) -> Any:
        try:
            self.pipe.send(what)
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.wait()
            self.log.seek(0)
            said = self.log.read().decode(errors="replace").replace("\r", "\n").strip().splitlines()
            last = next((line for line in reversed(said) if "%|" not in line), "it said nothing")
            code = self.process.returncode
            how = f"was killed by signal {-code}, probably out of memory" if code < 0 else f"failed with {code}"
            raise RouteError(f"it {how}: {last[:300]}") from None

    def close(self) -> None:
        """End it."""
        self.pipe.close()
        self.process.kill()
        self.process.wait()
        self.log.close()


def rounds_for(seconds: float) -> int:
    """How often work that takes this many seconds is repeated."""
    return MOST_ROUNDS if seconds < 1 else 5 if seconds < 20 else 3


def in_turns(
    name: str, routes: Sequence[Route], rounds: int | None = None
) -> tuple[dict[str, list[Turn]], dict[str, str]]:
    """The turns of each route, round by round, and why routes but the first are left out.

    Without `rounds` their number is by the seconds of the first round's slowest turn.

    Raises:
        RouteError: if the first cannot be taken.
    """
    lost: dict[str, str] = {}
    turns: dict[str, list[Turn]] = {}
    with ExitStack() as stack, tqdm(desc=name, unit="turn") as bar:
        running = []
        for route in routes:
            bar.set_postfix_str(f"{route.name} loads")
            try:
                running.append(stack.enter_context(closing(RouteProcess(route))))
            except RouteError as error:
                if route is routes[0]:
                    raise
                lost[route.name] = str(error)
        total = rounds or 1
        # Without a peer there is nothing to compare.
        while len(running) > 1 and total > len(turns.get(routes[0].name, [])):
            for process in list(running):
                bar.set_postfix_str(process.route.name)
                try:
                    turns.setdefault(process.route.name, []).append(process.turn())
                except RouteError as error:
                    if process.route is routes[0]:
                        raise
                    lost[process.route.name] = str(error)
                    turns.pop(process.route.name, None)
                    running.remove(process)
                bar.update()
            total = rounds or rounds_for(max(times[0].seconds for times in turns.values()))
            bar.total = total * len(running)
    return turns, lost
