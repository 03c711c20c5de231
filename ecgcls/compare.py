"""Say whether one model is better than another on the same records: ``python -m ecgcls.compare --help``."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ecgcls.command import run_command

_TYPES: dict[str, Any] = {
    "a": str | None,
    "b": str | None,
    "output_dir": str,
    "n_resamples": int,
    "level": float,
    "min_positives": int,
    "seed": int,
    "output": str | None,
}


def compare_job(config: DictConfig) -> None:
    """Compare what a configuration names, print the table and write the results."""
    from ecgcls.config import check_types
    from ecgcls.errors import ConfigError

    settings = check_types(config, _TYPES)
    for name in ("a", "b"):
        if settings[name] is None:
            raise ConfigError(f"{name}=PATH is missing: a run's folder, that of a configuration, or a predictions file")
    from ecgcls.comparing import compare_sides, read_side, say_comparison, write_comparison
    from ecgcls.evaluation.comparison import ComparisonSettings
    from ecgcls.runs import name_output

    how = ComparisonSettings(**{name: settings[name] for name in ("n_resamples", "level", "min_positives", "seed")})
    a, b = (read_side(settings[name], output_dir=Path(settings["output_dir"])) for name in ("a", "b"))
    by_class, over_runs = compare_sides(a, b, how)
    beside = a.path.with_name(f"{a.path.stem}_compare") if a.path.is_file() else a.path / "compare"
    output = Path(settings["output"] or beside / name_output(str(b.path)))
    write_comparison(output, a, b, by_class, over_runs, how)
    first = next(iter(a.by_seed.values()))
    print(f"\na: {a.name} ({a.path})\nb: {b.name} ({b.path})\nTest records: {len(first)}\n")
    print(f"{say_comparison(by_class, over_runs, level=how.level)}\n\n{output}")


def main() -> None:
    """Run the command line."""
    run_command(compare_job, config_name="compare", texts=("a", "b", "output_dir", "output"))


if __name__ == "__main__":
    main()
