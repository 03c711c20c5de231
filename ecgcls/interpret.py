"""Show what the net of a finished run looks at: ``python -m ecgcls.interpret --help``."""

import sys
from pathlib import Path
from typing import Unpack

from ecgcls.command.start import run_command
from ecgcls.config import DataPlace, FoldChoice, Text
from ecgcls.errors import ConfigError


def interpret(
    *,
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
    from ecgcls.runs.find import choose_configuration

    one = choose_configuration(**which, is_single_run=True)
    from ecgcls.jobs.explain import ExplainSettings, explain_run  # heavy: only once the run is found
    from ecgcls.jobs.trust import split_names

    folder = output or one.folder / "interpret"
    settings = ExplainSettings(
        methods=_split(method),
        class_names=_split(classes) if classes else None,
        records=records,
        layer=layer,
        n_summary=n_summary,
        n_scorecard=n_scorecard,
        seed=seed,
        data_root=data["root"],
        device=device,
        trust=split_names(trust),
    )
    table, warnings = explain_run(one, folder, settings)
    columns = ["ecg_id", "class", "outcome", "y_true", "y_prob", "method", "figure"]
    print(f"\n{table[columns].to_string(index=False, float_format='{:.3f}'.format)}\n\n{folder}")
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _split(text: str) -> list[str]:
    """Split what was typed as ``a,b`` or ``[a, b]``."""
    return [name for item in text.strip("[]").split(",") if (name := item.strip())]


if __name__ == "__main__":
    run_command(interpret)
