"""Write a finished run as one folder that runs anywhere: ``python -m ecgcls.export --help``."""

from pathlib import Path
from typing import Unpack

from ecgcls.command.start import run_command
from ecgcls.config import RunsChoice, Text


def export(
    *, format: Text, waveforms: bool, output: Path | None, trust: Text | None, **which: Unpack[RunsChoice]
) -> None:
    """Write the bundle that the settings name, and print what it is."""
    from ecgcls.jobs.export import check_formats, check_place, export_bundle
    from ecgcls.jobs.trust import split_names
    from ecgcls.runs.find import choose_members

    formats = [name.strip() for name in format.strip("[]").split(",")]
    check_formats(formats)
    members, is_ensemble = choose_members(**which)
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


if __name__ == "__main__":
    run_command(export)
