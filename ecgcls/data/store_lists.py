"""The lists of a signal store: what was changed in a record or is doubtful, and which cannot be used and why."""

import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.data.store_journal import Note, Written
from ecgcls.data.store_writer import count_kinds

log = logging.getLogger(__name__)

LISTS = ("repairs", "bad_records")
_RATES = re.compile(r"resampled from (\S+) to \S+ Hz")


def write_lists(folder: Path, root: Path, filenames: pd.Series, written: Written) -> None:
    """Write ``repairs.csv`` and ``bad_records.csv``; `filenames` are those of the rows, by ecg_id."""
    ecg_ids, files = filenames.index, filenames.tolist()
    notes = [(ecg_ids[note.row], note.what, note.is_doubtful) for note in written.notes]
    pd.DataFrame(notes, columns=["ecg_id", "what", "is_doubtful"]).to_csv(folder / "repairs.csv", index=False)
    here = f"{root}{os.sep}"
    bad = [(ecg_ids[row], files[row], reason.replace(here, "")) for row, reason in sorted(written.bad.items())]
    pd.DataFrame(bad, columns=["ecg_id", "file", "reason"]).to_csv(folder / "bad_records.csv", index=False)


def read_list(path: Path, ecg_ids: NDArray) -> pd.DataFrame:
    """Read a list of records, whose ids are of the type that the store has."""
    return pd.read_csv(path, keep_default_na=False, dtype={"ecg_id": str if ecg_ids.dtype.kind == "U" else np.int64})


def tell_notes(notes: Sequence[Note], n_records: int, path: Path) -> None:
    """Log which sampling rates there were, and how many records were repaired or noted, by kind; `path` has all."""
    rates = Counter(match[1] for note in notes if (match := _RATES.fullmatch(note.what)))
    if rates:
        shown = ", ".join(f"{rate} Hz ({count})" for rate, count in rates.most_common())
        log.info("Resampled %d of %d records from %s", rates.total(), n_records, shown)
    kinds = "; ".join(f"{count} x {what}" for what, count in count_kinds([note.what for note in notes]))
    if kinds:
        log.warning("%d records repaired or noted: %s; all in %s", len({note.row for note in notes}), kinds, path)
