"""Write a finished run as one folder that runs anywhere: ``python -m ecgcls.export --help``."""

from pathlib import Path
from typing import Unpack

from ecgcls.command.arguments import refuse_unused
from ecgcls.command.start import run_command
from ecgcls.config import RunsChoice, Text


def export(
    *,
    check: Path | None,
    format: Text,
    waveforms: bool,
    output: Path | None,
    trust: Text | None,
    **which: Unpack[RunsChoice],
) -> None:
    """Write the bundle that the settings name and print what it is, or check one that is there."""
    if check is not None:
        of_runs = {name: value for name, value in which.items() if name != "output_dir"}
        others = {"waveforms": waveforms or None, "output": output}
        refuse_unused(of_runs | others, f"with check={check}, which checks a bundle that is there, and writes none")
        _check(check, trust)
        return
    from ecgcls.runs.find import choose_members

    members, is_ensemble = choose_members(**which)
    from ecgcls.jobs.export import check_formats, check_place, export_bundle  # torch: a wrong run is told without it
    from ecgcls.jobs.trust import split_names

    formats = [name.strip() for name in format.strip("[]").split(",")]
    check_formats(formats)
    one = members[0]
    if is_ensemble:
        from ecgcls.jobs.ensemble import make_ensemble, read_settings

        one = make_ensemble(members, read_settings(which), output_dir=which["output_dir"])
    folder = output or one.folder / "bundle"
    check_place(folder)
    from ecgcls.reporting.bundle_card import write_bundle_card  # heavy: only once there is a run

    bundle = export_bundle(
        one,
        folder,
        formats=formats,
        waveforms=waveforms,
        trust=split_names(trust),
        write_card=write_bundle_card,
    )
    n_bytes = sum((bundle.path / name).stat().st_size for name in bundle.sums)
    print(f"{bundle.path} ({len(bundle.sums) + 1} files, {n_bytes / 1e6:.1f} MB)")


def _check(path: Path, trust: str | None) -> None:
    """Check a bundle, and print what was found."""
    from ecgcls.jobs.check_bundle import check_bundle
    from ecgcls.jobs.trust import split_names

    checks = check_bundle(path, trust=split_names(trust))
    widths = [max(len(each[column]) for each in checks) for column in (0, 1)]
    for each in checks:
        print(f"{each.what:{widths[0]}}  {each.on:{widths[1]}}  {each.found}")
    print(f"{path}: whole, and it says what it should")


if __name__ == "__main__":
    run_command(export)
