"""Get PTB-XL: ``python -m ecgcls.download --help``."""

from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig

from ecgcls.command import run_command

_TYPES: dict[str, Any] = {
    "root": str,
    "sampling_rate_hz": Literal[100, 500, "both"],
    "source": str,
    "archive": str | None,
    "connections": int,
    "timeout_s": int | float,
    "store_dir": str | None,
}


def download_job(config: DictConfig) -> None:
    """Fetch what a configuration says, build its signal store and say what was done."""
    from ecgcls.config import check_types
    from ecgcls.errors import ConfigError

    settings = check_types(config, _TYPES)
    if not settings["timeout_s"] > 0:
        raise ConfigError(f"timeout_s must be above 0, got {settings['timeout_s']}")
    from ecgcls.data.download import LICENSE, download
    from ecgcls.data.mirrors import MIRRORS, Mirror, WebMirror, ZipMirror
    from ecgcls.data.ptbxl import PTBXL
    from ecgcls.data.store import open_store

    root = Path(settings["root"])
    rates: tuple[Literal[100, 500], ...] = (
        (100, 500) if settings["sampling_rate_hz"] == "both" else (settings["sampling_rate_hz"],)
    )
    mirror: Mirror
    if settings["archive"] is not None:
        mirror = ZipMirror(Path(settings["archive"]))
    else:
        address = MIRRORS.get(settings["source"], settings["source"])
        mirror = WebMirror(address, timeout_s=settings["timeout_s"])
    summary = download(
        mirror,
        root,
        sampling_rates_hz=rates,
        n_connections=settings["connections"],
        with_store=settings["store_dir"] is None,
    )
    print(
        f"{summary.n_files:,} files, {summary.n_bytes / 1e6:,.1f} MB, all verified against SHA256SUMS.txt; "
        f"{summary.n_fetched:,} of them, {summary.n_bytes_fetched / 1e6:,.1f} MB, were fetched now."
    )
    store_dir = Path(settings["store_dir"]) if settings["store_dir"] else None
    for rate in rates:
        filenames = PTBXL(root=root, sampling_rate_hz=rate).read_records()["filename"]
        store = open_store(root, filenames, sampling_rate_hz=rate, store_dir=store_dir)
        print(f"The signal store of {rate} Hz is ready: {len(store.ecg_ids):,} records.")
    print(f"\n{LICENSE}\n\n{root}")


def main() -> None:
    """Run the command line."""
    run_command(download_job, config_name="download", texts=("root", "source", "archive", "store_dir"))


if __name__ == "__main__":
    main()
