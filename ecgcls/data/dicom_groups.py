"""Which of a DICOM file's waveform groups are the ECG.

A file may hold averaged beats beside the rhythm, with a label that says so or without one, several recordings, or the
leads of one recording in several groups. The library reads the first group that is not labeled as averaged.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ecgcls.errors import DataError

_AVERAGED = ("MEDIAN", "REPRESENTATIVE", "AVERAGE")  # as the library tells the groups apart


def list_rhythms(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the groups of a record's metadata that are not labeled as averaged beats."""
    groups = said.get("multiplex_groups", [])
    return [group for group in groups if not _is_averaged(group["label"])]


def _is_averaged(label: str) -> bool:
    return any(word in label.upper() for word in _AVERAGED)


def choose_groups(path: Path, record: Any, parse: Callable[[Path], Any]) -> tuple[Any, list[str], list[str]]:
    """Return the record of the longest rhythm, what is to be told, and what of that is doubt.

    Groups of the same length and time whose leads differ are one recording. Of several recordings the first is taken.

    Raises
    ------
    DataError
        If the leads were recorded one group after another, or a group cannot be read.
    """
    groups = list_rhythms(record.raw_metadata)
    if len(groups) < 2:
        return record, [], []
    lengths_s = [group["samples"] / group["sampling_frequency"] for group in groups]
    chosen = [number for number, length_s in enumerate(lengths_s) if length_s == max(lengths_s)]
    notes = []
    if shorter := [f"{length_s:g} s" for length_s in lengths_s if length_s < max(lengths_s)]:
        notes.append(f"left out {len(shorter)} shorter waveform group(s) of the file: {', '.join(shorter)}")
    if chosen == [0]:
        return record, notes, []
    records, offsets_ms = _read_alone(path, chosen, parse)
    record = records[0]
    names = [{lead.label for lead in each.leads} for each in records]
    if len(chosen) == 1:
        return record, notes, []
    if sum(map(len, names)) > len(set().union(*names)):
        told = f"the file has {len(chosen)} recordings of {max(lengths_s):g} s: the first is read"
        return record, [*notes, told], [told]
    if len({*offsets_ms}) > 1 or len({groups[number]["sampling_frequency"] for number in chosen}) > 1:
        raise DataError(f"{path}: the leads were not recorded at the same time, but in {len(chosen)} groups")
    record.leads = [lead for each in records for lead in each.leads]
    return record, notes, []


def _read_alone(path: Path, numbers: list[int], parse: Callable[[Path], Any]) -> tuple[list[Any], list[float]]:
    """Read each of some rhythm groups as if the file had no other; return when each starts, too (ms)."""
    import pydicom

    whole = pydicom.dcmread(path)
    rhythms = [
        group
        for group in whole.WaveformSequence
        if group.get("WaveformData") and not _is_averaged(str(group.get("MultiplexGroupLabel") or ""))
    ]
    records, offsets_ms = [], []
    with tempfile.TemporaryDirectory(prefix="ecgcls-") as folder:
        for number in numbers:
            whole.WaveformSequence = [rhythms[number]]
            alone = Path(folder) / f"{number}.dcm"
            try:
                whole.save_as(alone)
                records.append(parse(alone))
            except Exception as error:  # whatever pydicom stumbles over
                reason = str(error).replace(str(alone), str(path)).splitlines() or [type(error).__name__]
                raise DataError(
                    f"{path}: its {len(rhythms)} waveform groups cannot be told apart ({reason[0]})"
                ) from error
            offsets_ms.append(float(rhythms[number].get("MultiplexGroupTimeOffset") or 0))
    return records, offsets_ms
