"""Processes that take turns, so that what is compared meets the same machine at the same time."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

_MARK = "turn: "  # begins a candidate's own lines on standard output


def say(word: object) -> None:
    """Be a candidate: say ``ready``, or the seconds that a turn took."""
    print(f"\n{_MARK}{word}", flush=True)


class Turns:
    """One process a candidate; each works only when it is its turn and says how long the turn took, in seconds.

    A candidate is a command that calls `say` once when it is ready, and then with the seconds of each turn that a line
    on its standard input gives it.
    """

    def __init__(
        self, commands: Mapping[str, Sequence[str]], *, log: Path, env: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        self._commands = commands
        self._env = env or {}
        self._log = log
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> "Turns":
        """Start the processes, one after another."""
        with self._log.open("w") as log:
            for name, command in self._commands.items():
                process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env=self._env.get(name),
                )
                self._processes[name] = process
                self._read(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the processes."""
        for process in self._processes.values():
            process.kill()
            process.wait()

    def take(self, rounds: int) -> dict[str, list[float]]:
        """Let each candidate take `rounds` turns, in turn."""
        seconds: dict[str, list[float]] = {name: [] for name in self._processes}
        for number in range(rounds):
            for name in self._processes:
                self._start(name)
                seconds[name].append(float(self._read(name)))
            say_round(number, seconds)
        return seconds

    def take_together(self, names: Sequence[str]) -> float:
        """Let some candidates take a turn at the same time; return the seconds until the last is done."""
        start = time.perf_counter()
        for name in names:
            self._start(name)
        for name in names:
            self._read(name)
        return time.perf_counter() - start

    def _start(self, name: str) -> None:
        process = self._processes[name]
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()

    def _read(self, name: str) -> str:
        process = self._processes[name]
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(_MARK):
                return line.removeprefix(_MARK)
        raise RuntimeError(f"{name} ended early:\n{self._log.read_text()[-2000:]}")


def answer_turns(work: Callable[[], None]) -> None:
    """Be a candidate: do `work` once for each line on standard input, and write the seconds that it took."""
    say("ready")
    for _ in sys.stdin:
        start = time.perf_counter()
        work()
        say(time.perf_counter() - start)


def take_turns(
    candidates: Mapping[str, Callable[[], object]], rounds: int, *, quiet: bool = False
) -> dict[str, list[float]]:
    """Time functions of this process in turn, in seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds):
        for name, work in candidates.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
        if not quiet:
            say_round(number, seconds)
    return seconds


def say_round(number: int, seconds: Mapping[str, list[float]]) -> None:
    """Show how a round went."""
    shown = ", ".join(f"{name} {values[-1]:.3g} s" for name, values in seconds.items())
    print(f"  round {number + 1}: {shown}", file=sys.stderr)


def median_ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the median over the rounds of one candidate's time over another's."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))
