"""Show what the net of a finished run looks at: ``python -m ecgcls.interpret --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from tqdm import tqdm

from ecgcls.command.start import run_command
from ecgcls.config import DataPlace, FoldChoice, Text
from ecgcls.errors import ConfigError

if TYPE_CHECKING:
    from ecgcls.runs.configuration import Configuration

_FAILED = 2  # exit code if some records could not be used


def interpret(
    *,
    input: Text | None,
    data: DataPlace,
    method: Text,
    classes: Text | None,
    records: Text | None,
    layer: str | None,
    n_summary: int,
    n_scorecard: int,
    seed: int,
    device: str,
    trust: Text | None,
    output: Path | None,
    **which: Unpack[FoldChoice],
) -> None:
    """Explain what the settings name, write the results and print the table."""
    for name, value in {"n_summary": n_summary, "n_scorecard": n_scorecard, "seed": seed}.items():
        if value < 0:
            raise ConfigError(f"{name} must be 0 or more, got {value}")
    if input is not None and records is not None:
        raise ConfigError("input= and records= exclude each other: records= names records of the run's own test set")
    if input is not None and data["root"] is not None:
        raise ConfigError("data.root has no effect with input=, which explains no record of the run's data set")
    chosen, class_names = _split(method), _split(classes) if classes else None
    if layer is not None and not {"grad_cam", "all"} & {*chosen}:
        raise ConfigError(f"layer={layer} has no effect without method=grad_cam, got method={method}")
    from ecgcls.runs.find import choose_configuration

    one = choose_configuration(**which, is_single_run=True)
    if one.info.kind == "ensemble":
        raise ConfigError(f"{one.folder} is an ensemble, one net is explained at a time: name a member, as run=PATH")
    from ecgcls.jobs.trust import split_names

    if input is not None:
        _interpret_input(
            one,
            input,
            output,
            methods=chosen,
            class_names=class_names,
            layer=layer,
            seed=seed,
            device=device,
            trust=split_names(trust),
        )
        return
    from ecgcls.jobs.explain import ExplainSettings, explain_run  # heavy: only once the run is found

    settings = ExplainSettings(
        methods=chosen,
        class_names=class_names,
        records=records,
        layer=layer,
        n_summary=n_summary,
        n_scorecard=n_scorecard,
        seed=seed,
        data_root=data["root"],
        device=device,
        trust=split_names(trust),
    )
    folder = output or one.folder / "interpret"
    _, warnings = explain_run(one, folder, settings, tell=_tell)
    print(f"\n{folder}")
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _interpret_input(
    one: Configuration,
    source: str,
    output: Path | None,
    *,
    methods: list[str],
    class_names: list[str] | None,
    layer: str | None,
    seed: int,
    device: str,
    trust: Sequence[str],
) -> None:
    """Explain the user's own records; some that cannot be used are exit code 2."""
    from ecgcls.data.record_files import find_recordings
    from ecgcls.explanation.attribution import choose_methods
    from ecgcls.explanation.method import MethodSettings
    from ecgcls.jobs.explain_recording import explain_files
    from ecgcls.jobs.load import load_configuration
    from ecgcls.outputs import name_output

    run = load_configuration(one, device=device, trust=trust)
    _, failures = explain_files(
        run,
        find_recordings(source, sampling_rate_hz=run.sampling_rate_hz),
        folder := output or one.folder / "interpret_input" / name_output(source),
        methods=choose_methods(methods),
        class_names=class_names,
        settings=MethodSettings(seed=seed, layer=layer),
        tell=_tell,
    )
    for record, reason in failures.items():
        print(f"not used: {record}: {reason}", file=sys.stderr)
    print(f"\n{folder}")
    if failures:
        raise SystemExit(_FAILED)


def _tell(line: str) -> None:
    """Print a line, above the progress bar where there is one, as soon as there is one."""
    tqdm.write(line)
    sys.stdout.flush()


def _split(text: str) -> list[str]:
    """Split what was typed as ``a,b`` or ``[a, b]``."""
    return [name for item in text.strip("[]").split(",") if (name := item.strip())]


if __name__ == "__main__":
    run_command(interpret)
