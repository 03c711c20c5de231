"""What the wfdb package [1]_ reads in a line of a header where it is not what the standard says: both are told.

The wfdb package stops at the first mark that it does not expect in a line and takes the rest for the signal's name, or
for date and time: the gain ``1E3/mV`` is one unit of the converter per "E3/mV" to it, the rate ``5e2`` is 5 Hz, and of
``µV`` it leaves out the first letter. Somebody may have used such a file with the other reading.

References
----------
.. [1] The WFDB Python package, https://github.com/MIT-LCP/wfdb-python
"""

import re

from ecgcls.data.wfdb_gain import DEFAULT_GAIN, Scale, show

_USUAL = re.compile(r"(?:-?\d+\.?\d*(?:\(-?\d+\))?(?:/[a-zA-Z]+)?(?: \d+(?: -?\d+)?)?)?", re.ASCII)
_DATE = re.compile(r"\d{1,2}/\d{1,2}/\d{4}|")


def add_other_reading(scale: Scale, fields: str) -> Scale:
    """Compare a scale with what the wfdb package reads in its fields: gain, resolution and zero, as far as given."""
    if _USUAL.fullmatch(fields):
        return scale
    found = _read_signal_line(f"r.dat 16 {fields}")
    if found is None or found[:3] == scale[:3]:
        return scale
    return scale._replace(other=f"{show(fields.split()[0])} is {scale}, the wfdb package reads {found}")


def describe_other_length(line: str) -> str:
    """Return what the wfdb package takes for the number of samples in a record line that says none, or nothing."""
    found = _read_record_line(line)
    return f"; the wfdb package reads {found[1]} samples, from {show(line)}" if found and found[1] else ""


def describe_record_line(line: str) -> str:
    """Return what the wfdb package reads in a record line that is refused here, to end a message with, or nothing."""
    found = _read_record_line(line)
    if found is None:
        return ""
    rate_hz, n_samples = found
    return f"; the wfdb package reads {rate_hz:g} Hz and {n_samples or 'no number of'} samples"


def describe_signal_line(line: str) -> str:
    """Return what the wfdb package reads in a signal line that is refused here, to end a message with, or nothing."""
    found = _read_signal_line(line)
    return "" if found is None else f"; the wfdb package reads the gain {found} and the name {show(found.note)}"


def _read_record_line(line: str) -> tuple[float, int] | None:
    """Return sampling rate and number of samples, 0 for none; None if the wfdb package refuses the line."""
    from wfdb.io.header import rx_record  # takes half a second, and hardly any header needs it

    found = rx_record.match(_to_ascii(line))
    if found is None or not _DATE.fullmatch(found["base_date"]):
        return None
    try:
        return float(found["fs"] or 250), int(found["sig_len"] or 0)
    except ValueError:
        return None


def _read_signal_line(line: str) -> Scale | None:
    """Return the scale, with the signal's name as note; None if the wfdb package refuses the line."""
    from wfdb.io.header import rx_signal

    found = rx_signal.match(_to_ascii(line))
    if found is None:
        return None
    try:
        gain = float(found["adc_gain"] or 0)
        baseline = float(found["baseline"] or found["adc_zero"] or 0)
    except ValueError:  # "-"
        return None
    return Scale(gain or DEFAULT_GAIN, baseline, found["units"] or "mV", found["sig_name"])


def _to_ascii(line: str) -> str:
    return line.encode("ascii", "ignore").decode()
