"""Show what the net of a finished run looks at: ``python -m ecgcls.interpret --help``."""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ecgcls.command import run_command

_TYPES: dict[str, Any] = {
    "experiment": str,
    "model": str | None,
    "fold": int,
    "variant": str | None,
    "run_dir": str | None,
    "output_dir": str,
    "data.root": str | None,
    "method": str,
    "classes": str | None,
    "records": str | None,
    "layer": str | None,
    "n_summary": int,
    "n_scorecard": int,
    "seed": int,
    "device": str,
    "output": str | None,
}
_TEXTS = (
    "experiment", "variant", "run_dir", "output_dir", "data.root", "method", "classes", "records", "output",
)  # fmt: skip


def interpret_job(config: DictConfig) -> None:
    """Explain what a configuration says and write the results."""
    from ecgcls.config import check_types
    from ecgcls.errors import ConfigError

    settings = check_types(config, _TYPES)
    for key in ("n_summary", "n_scorecard", "seed"):
        if settings[key] < 0:
            raise ConfigError(f"{key} must be 0 or more, got {settings[key]}")
    from ecgcls.runs import choose_folder

    folder = choose_folder(settings)
    from ecgcls.jobs.explain import explain_run  # heavy: only once the run is found
    from ecgcls.jobs.explained_run import ExplainSettings

    output = Path(settings["output"] or folder / "interpret")
    requested = ExplainSettings(
        methods=_split(settings["method"]),
        class_names=_split(settings["classes"]) if settings["classes"] else None,
        records=settings["records"],
        layer=settings["layer"],
        n_summary=settings["n_summary"],
        n_scorecard=settings["n_scorecard"],
        seed=settings["seed"],
        data_root=Path(settings["data.root"]) if settings["data.root"] else None,
        device=settings["device"],
    )
    table, warnings = explain_run(folder, output, requested)
    columns = ["ecg_id", "class", "outcome", "y_true", "y_prob", "method", "figure"]
    print(f"\n{table[columns].to_string(index=False, float_format='{:.3f}'.format)}\n\n{output}")
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _split(text: str) -> list[str]:
    """Split what was typed as ``a,b`` or ``[a, b]``."""
    return [name for item in text.strip("[]").split(",") if (name := item.strip())]


def main() -> None:
    """Run the command line."""
    run_command(interpret_job, config_name="interpret", texts=_TEXTS)


if __name__ == "__main__":
    main()
