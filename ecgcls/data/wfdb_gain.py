"""The gain of a WFDB signal, after header(5) [1]_: what a sample means.

References
----------
.. [1] WFDB header format, https://physionet.org/physiotools/wag/header-5.htm
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

DEFAULT_GAIN = 200.0
NUMBER = r"(?:\d{1,15}(?:\.\d{0,30})?|\.\d{1,30})"
GAIN = re.compile(  # gain(baseline)/unit
    rf"([+-]?{NUMBER}(?:[eE][+-]?\d{{1,4}})?)(?:\(([+-]?\d{{1,15}}(?:\.\d{{0,30}})?)\))?(?:/(\S*))?", re.ASCII
)
GAIN_FORM = "a finite number, such as 200, 200(0) or 200(0)/mV"


class Scale(NamedTuple):
    """What a sample means: ``(sample - baseline) / gain``, in `unit`."""

    gain: float
    baseline: float
    unit: str
    note: str
    """Empty if the gain is the header's own, else why it is not."""
    other: str = ""
    """Empty, or this reading and that of the wfdb package, where they differ."""

    def __str__(self) -> str:
        return f"{self.gain:g}({self.baseline:g})/{self.unit}"


def parse_gain(field: str, zero: int) -> Scale:
    """Parse ``1000.0(0)/mV``; without a baseline, the field `zero` is the baseline. ValueError if it is no gain."""
    if not field:
        return Scale(DEFAULT_GAIN, float(zero), "mV", "no gain in the header")
    found = GAIN.fullmatch(field)
    gain = float(found[1]) if found else math.nan
    if found is None or not math.isfinite(gain):
        raise ValueError(f"the gain must be {GAIN_FORM}, got {show(field)}")
    baseline = float(zero if found[2] is None else found[2])
    note = "" if gain else "gain 0 in the header"
    return Scale(gain or DEFAULT_GAIN, baseline, found[3] or "mV", note)


def describe_gains(names: Sequence[str], scales: Sequence[Scale], *, other: bool = False) -> list[str]:
    """Return a note for each kind of gain that is not the header's own; or that the wfdb package reads otherwise."""
    texts = [_describe_other(scale) if other else _describe_guess(scale) for scale in scales]
    found = []
    for text in dict.fromkeys(filter(None, texts)):
        of = [name for name, own in zip(names, texts, strict=True) if own == text]
        found.append(text.replace("{of}", "" if len(of) == len(names) else f" ({', '.join(of)})"))
    return found


def show(text: str, n_characters: int = 30) -> str:
    """Return a text in quotes, its end left out if it is long."""
    return repr(text if len(text) <= n_characters else f"{text[:n_characters]}...")


def _describe_guess(scale: Scale) -> str:
    if not scale.note:
        return ""
    return f"{scale.note}{{of}}: uncalibrated, taken as {DEFAULT_GAIN:g} adu/{scale.unit}"


def _describe_other(scale: Scale) -> str:
    return scale.other and f"gain{{of}}: {scale.other}"
