"""Files that appear whole or not at all, and names that a file may have."""

import os
import re
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that others see whole or not at all: a temporary name in the same folder, then a rename.

    Parameters
    ----------
    path
        The file; its folder is made, an older file is replaced.
    content
        The bytes of the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def name_file(text: str) -> str:
    """Make a name fit for a file on any system: what is not a letter, a digit or one of ``_.()+-`` becomes '-'.

    Different texts may get the same name.

    Examples
    --------
    >>> name_file("LAFB/LPFB"), name_file("PRC(S)"), name_file("../ISC_")
    ('LAFB-LPFB', 'PRC(S)', '..-ISC_')
    """
    return re.sub(r"[^\w.()+-]", "-", text)
