"""The gain of a WFDB signal, after header(5) [1]_: what a sample means.

Some headers say units of the converter per mV and mean per V: in the Challenges 2020 and 2021 [2]_ those of PTB
(``2000000/mV``) and of INCART (``306000/mV``), whose own headers have 2000 and 306 per mV. It shows: with such a gain
the largest sample of 16 bits would be below `MIN_FULL_SCALE_MV`, where no ECG fits in. If that is so in all signals of
a header, it is taken per V, as a guess.

A single quiet lead may have such a gain, and rightly: the wfdb package chooses, for each lead, the one that makes the
most of 16 bits. But that one is hardly ever a whole number of thousands, and its baseline is not 0.

References
----------
.. [1] WFDB header format, https://physionet.org/physiotools/wag/header-5.htm
.. [2] https://doi.org/10.13026/34va-7q14; PTB: https://doi.org/10.13026/C28C71; INCART:
   https://doi.org/10.13026/C2V88N
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

DEFAULT_GAIN = 200.0
MIN_FULL_SCALE_MV = 0.2
"""Below this, what a converter gives is no ECG: a QRS complex alone has more in some lead."""
NUMBER = r"(?:\d{1,15}(?:\.\d{0,30})?|\.\d{1,30})"
GAIN = re.compile(  # gain(baseline)/unit
    rf"([+-]?{NUMBER}(?:[eE][+-]?\d{{1,4}})?)(?:\(([+-]?\d{{1,15}}(?:\.\d{{0,30}})?)\))?(?:/(\S*))?", re.ASCII
)
GAIN_FORM = "a finite number, such as 200, 200(0) or 200(0)/mV"

_OF_16_BITS = (16, 61, 160, 516)
_FULL = 2**15
_PER_VOLT = "gain of "  # how its note begins


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


def take_per_volt(scales: Sequence[Scale], formats: Sequence[int]) -> tuple[Scale, ...]:
    """Return the scales of a header's signals, in their formats: per V where they cannot be per mV.

    Examples
    --------
    >>> large, usual = Scale(306000.0, 0.0, "mV", ""), Scale(1000.0, 0.0, "mV", "")
    >>> [scale.gain for scale in take_per_volt([large, large], [16, 16])]
    [306.0, 306.0]
    >>> [scale.gain for scale in take_per_volt([large, usual], [16, 16])]
    [306000.0, 1000.0]
    """
    if not all(map(_may_be_per_volt, scales, formats)):
        return tuple(scales)
    return tuple(
        scale._replace(
            gain=scale.gain / 1000,
            note=f"{_PER_VOLT}{scale.gain:.10g}/{scale.unit}, with which a sample is below {_FULL / scale.gain:.2g} mV",
        )
        for scale in scales
    )


def _may_be_per_volt(scale: Scale, format_: int) -> bool:
    is_too_large = scale.gain > _FULL / MIN_FULL_SCALE_MV and format_ in _OF_16_BITS and scale.unit.casefold() == "mv"
    return is_too_large and scale.gain % 1000 == 0 and scale.baseline == 0


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
    if scale.note.startswith(_PER_VOLT):
        return f"{scale.note}{{of}}: taken as per V, {scale.gain:g}/mV (the wfdb package reads it as it is)"
    return f"{scale.note}{{of}}: uncalibrated, taken as {DEFAULT_GAIN:g} adu/{scale.unit}"


def _describe_other(scale: Scale) -> str:
    return scale.other and f"gain{{of}}: {scale.other}"
