from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgcls.data.plain_records import read_plain_records
from ecgcls.data.recordings import iter_recording, prepare
from ecgcls.data.signals import LEADS, read_record
from tests.data.test_content_screen import FAULTS

FORM = {"lead_names": LEADS, "sampling_rate_hz": 100, "n_samples": 1000}


def damage_checksum(path: Path) -> None:
    signal = np.fromfile(f"{path}.dat", "<i2")
    signal[5] += 1
    signal.tofile(f"{path}.dat")


def shorten(path: Path) -> None:
    Path(f"{path}.dat").write_bytes(Path(f"{path}.dat").read_bytes()[:-2])


@pytest.fixture(scope="module")
def paths(synthetic_root, tmp_path_factory, write_record) -> dict[str, Path]:
    """Records by what is odd in them, and one in which nothing is."""
    names = pd.read_csv(synthetic_root / "ptbxl_database.csv")["filename_lr"]
    signal = next(
        signal
        for name in names
        if read_plain_records([synthetic_root / name], **FORM)[0] is not None
        for signal in [read_record(synthetic_root / name).signal_uv.astype(float)]
    )
    odd = {name: change(signal).clip(-32767, 32767) for name, change in FAULTS.items()}
    odd |= {"missing": np.where(np.arange(1000) == 7, -32768, signal), "short": signal[:, :999], "sound": signal}
    folder = tmp_path_factory.mktemp("records")
    found = {name: folder / name.replace(" ", "_") for name in odd}
    for name, path in found.items():
        write_record(path, odd[name].T.round().astype(int))
    for name, do in {"damaged": damage_checksum, "truncated": shorten, "gone": lambda path: None}.items():
        found[name] = folder / name
        if name != "gone":
            write_record(found[name], signal.T.round().astype(int))
        do(found[name])
    return found


def test_a_window_stands_for_a_record_of_which_nothing_is_told(paths):
    found = dict(zip(paths, read_plain_records([*paths.values()], **FORM), strict=True))
    assert [name for name, window_mv in found.items() if window_mv is not None] == ["sound"]
    one = prepare(next(iter_recording(paths["sound"])), **FORM)
    assert (one.repairs, one.starts_s) == ((), (0.0,))
    assert np.array_equal(one.windows_mv, found["sound"])


def test_some_leads_of_a_record(paths):
    form = FORM | {"lead_names": ("I", "V2")}
    (window_mv,) = read_plain_records([paths["sound"]], **form)
    assert np.array_equal(window_mv, prepare(next(iter_recording(paths["sound"])), **form).windows_mv)


def test_a_file_of_the_name_itself_is_looked_at_first(paths):
    paths["sound"].write_text("I,II\n1,2\n")
    assert read_plain_records([paths["sound"]], **FORM) == [None]
    paths["sound"].unlink()
