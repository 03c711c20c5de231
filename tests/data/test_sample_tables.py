"""Tables of samples as people write them."""

import numpy as np
import pytest

from ecgcls.data.formats import recognize
from ecgcls.data.recordings import read_recording
from ecgcls.data.signals import LEADS
from ecgcls.errors import DataError
from tests.data.device_files import write_csv

SIGNAL_MV = np.round(np.sin(np.arange(1200).reshape(12, 100) / 9), 3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ecg.csv"


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"time": "time"},
        {"time": "Time (s)"},
        {"time": "time_ms"},
        {"time": "t [ms]"},
        {"time": "ms", "separator": ";"},
        {"unit": "uV"},
        {"separator": "\t"},
    ],
)
def test_header_and_times_say_how_to_read(path, how):
    found = read_recording(write_csv(path, SIGNAL_MV, LEADS, 250, **how))
    np.testing.assert_allclose(found.signal_mv, SIGNAL_MV, atol=1e-6)
    assert (found.sampling_rate_hz, found.lead_names, found.left_out, found.notes) == (250, LEADS, (), ())


def test_excel_and_other_writers(path):
    """A comma as decimal mark, a byte order mark, pandas' column of row numbers, and a column that is no lead."""
    rows = "".join(f"{n};{n * 4};{0.5 * n};-1,25;{n}\r\n" for n in range(50)).replace(".", ",")
    path.write_bytes(f"\ufeffsep=;\r\n;time_ms;Lead I [mV];DII;SpO2\r\n{rows}".encode())
    found = read_recording(path)
    assert (found.sampling_rate_hz, found.lead_names, found.left_out) == (250, ("Lead I", "DII"), ("SpO2",))
    np.testing.assert_allclose(found.signal_mv, [0.5 * np.arange(50), [-1.25] * 50])


def test_units_may_differ_by_lead(path):
    path.write_text("time,I_uV,II (V),V1/mV\n0,500,0.0005,1\n0.01,250,0.00025,2\n")
    np.testing.assert_allclose(read_recording(path).signal_mv, [[0.5, 0.25], [0.5, 0.25], [1, 2]], rtol=1e-6)


@pytest.mark.parametrize(("rate_hz", "expected"), [(360, 360), (128, 128), (512.5, 512.5)])
def test_rounded_times_give_the_rate_that_they_follow(path, rate_hz, expected):
    times = np.round(np.arange(5000) / rate_hz, 3)
    path.write_text("t,I,II\n" + "".join(f"{time},0.1,0.2\n" for time in times))
    assert read_recording(path).sampling_rate_hz == pytest.approx(expected, rel=1e-4 if rate_hz == 512.5 else 0)


def test_a_comment_gives_the_rate_where_there_is_no_time(path):
    write_csv(path, SIGNAL_MV, LEADS, 250, time="")
    with pytest.raises(
        DataError, match=r"ecg.csv: no sampling rate: expected a column time_s .*# sampling_rate_hz=500"
    ):
        read_recording(path)
    path.write_text(f"# sampling_rate_hz=250\n{path.read_text()}")
    assert read_recording(path).sampling_rate_hz == 250
    path.write_text(path.read_text().replace("=250", "=fast"))
    with pytest.raises(DataError, match="sampling_rate_hz must be a number of Hz, got 'fast'"):
        read_recording(path)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ("0,1,2\n0.002,1,2\n0.004,1,2\n0.5,1,2\n", "missing samples: the times are not evenly spaced"),
        ("0,1,2\n0.002,1,2\n,1,2\n0.006,1,2\n", "missing samples: the times are not evenly spaced"),
        ("0,1,2\n0,1,2\n", "the times must rise"),
        ("0,1,2\n", "the times must rise"),
        ("0,1,2\n0.002,1,off\n", "no table of numbers .*could not convert string to float: 'off'"),
        ("0,1,2\n0.002,1,2,3,4\n", "no table of numbers .*Expected 3 fields in line 3, saw 5"),
    ],
)
def test_what_is_wrong_in_a_table_is_told(path, rows, match):
    path.write_text(f"time,I,II\n{rows}")
    with pytest.raises(DataError, match=match):
        read_recording(path)


def test_an_empty_cell_is_a_missing_sample(path):
    path.write_text("time,I,II\n0,1,2\n0.002,,2\n0.004,1,2\n")
    np.testing.assert_array_equal(read_recording(path).signal_mv, np.float32([[1, np.nan, 1], [2, 2, 2]]))


@pytest.mark.parametrize(
    "text",
    [
        "path,I,II\na.hea,yes,no\n",
        "path\na.hea\n",
        "0.1,0.2\n0.3,0.4\n",
        "I,II\n",
        "record,MI,AF\na,1,0\n",
        "I\n1\n2\n",
    ],
)
def test_other_tables_are_no_samples(path, text):
    path.write_text(text)
    assert recognize(path) is None
