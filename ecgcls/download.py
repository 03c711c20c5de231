"""Download PTB-XL: ``python -m ecgcls.download --help``."""

from pathlib import Path
from typing import Literal

from ecgcls.command.start import run_command
from ecgcls.config import Text
from ecgcls.errors import ConfigError


def download(
    *,
    root: Path,
    sampling_rate_hz: Literal[100, 500, "both"],
    source: Text,
    archive: Path | None,
    connections: int,
    timeout_s: int | float,
    store_dir: Path | None,
) -> None:
    """Fetch what the settings name, build its signal store and print what was done."""
    if not timeout_s > 0:
        raise ConfigError(f"timeout_s must be above 0, got {timeout_s}")
    if archive is not None and (source, connections, timeout_s) != ("physionet", 8, 60):
        raise ConfigError(
            "source, connections and timeout_s have no effect with archive=, which is a file; leave them out"
        )
    from ecgcls.data import download as data_download
    from ecgcls.data.mirrors import MIRRORS, Mirror, WebMirror, ZipMirror
    from ecgcls.data.ptbxl import PTBXL
    from ecgcls.data.store import open_store

    rates: tuple[Literal[100, 500], ...] = (100, 500) if sampling_rate_hz == "both" else (sampling_rate_hz,)
    mirror: Mirror = WebMirror(MIRRORS.get(source, source), timeout_s=timeout_s)
    if archive is not None:
        mirror = ZipMirror(archive)
    summary = data_download.download(
        mirror, root, sampling_rates_hz=rates, n_connections=connections, with_store=store_dir is None
    )
    print(
        f"{summary.n_files:,} files, {summary.n_bytes / 1e6:,.1f} MB, all verified against SHA256SUMS.txt; "
        f"{summary.n_fetched:,} of them, {summary.n_bytes_fetched / 1e6:,.1f} MB, were fetched now."
    )
    for rate in rates:
        filenames = PTBXL(root=root, sampling_rate_hz=rate).read_records()["filename"]
        store = open_store(root, filenames, sampling_rate_hz=rate, store_dir=store_dir)
        print(f"The signal store of {rate} Hz is ready: {len(store.ecg_ids) - len(store.bad_records):,} records.")
        if len(store.bad_records):
            print(f"{len(store.bad_records):,} records cannot be used: {store.folder / 'bad_records.csv'}")
    print(f"\n{data_download.LICENSE}\n\n{root}")


if __name__ == "__main__":
    run_command(download)
