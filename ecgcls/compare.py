"""Find out whether one model is better than another on the same records: ``python -m ecgcls.compare --help``."""

from pathlib import Path

from ecgcls.command.start import run_command
from ecgcls.config import Text
from ecgcls.errors import ConfigError


def compare(
    *,
    a: Text | None,
    b: Text | None,
    output_dir: Path,
    n_resamples: int | None,
    level: float | None,
    min_positives: int | None,
    margin: float | None,
    seed: int | None,
    output: Path | None,
) -> None:
    """Compare what the settings name, write the results and print the table."""
    if a is None or b is None:
        name = "a" if a is None else "b"
        raise ConfigError(f"{name}=PATH is missing: a run's folder, that of a configuration, or a predictions file")

    from ecgcls.evaluation.margins import check_margin
    from ecgcls.files import printable
    from ecgcls.jobs.compare import compare_sides, format_comparison, read_side, write_comparison
    from ecgcls.outputs import check_output, claimed

    if margin is not None:
        check_margin(margin)
    if output is not None:
        check_output(output, "compare")
    overrides = {"n_resamples": n_resamples, "level": level, "min_positives": min_positives, "seed": seed}
    sides = [read_side(text, output_dir=output_dir) for text in (a, b)]
    comparison = compare_sides(*sides, overrides=overrides, margin=margin)
    folder = output or comparison.default_folder
    with claimed(folder, "compare"):
        write_comparison(comparison, folder)
    for name, side in zip("ab", sides, strict=True):
        print(f"{name}: {side.name} ({side.path})")
    unknown = ", ".join(f"{printable(name)} {count}" for name, count in comparison.n_unknown.items())
    left_out = f" (not annotated, left out of their class's numbers: {unknown})" if unknown else ""
    print(f"Test records: {comparison.n_records}{left_out}\n\n{format_comparison(comparison)}\n\n{folder}")


if __name__ == "__main__":
    run_command(compare)
