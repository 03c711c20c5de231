"""Files that appear whole or not at all, and names that a file may have."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


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
    except OSError as error:
        error.filename = error.filename or str(path)  # a write that fails, on a full disk, does not say where
        raise
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


def name_files(texts: Sequence[str]) -> dict[str, str]:
    """Give each text a file's name that no other has, on a system that ignores case as well.

    Examples
    --------
    >>> name_files(["a/b", "a:b", "A-B"])
    {'a/b': 'a-b', 'a:b': 'a-b-2', 'A-B': 'A-B-3'}
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for text in texts:
        name = wanted = name_file(text)
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{wanted}-{number}"
        taken.add(name.casefold())
        names[text] = name
    return names


def write_json(path: Path, content: Mapping[str, Any], *, rows: str | None = None) -> None:
    """Write strict JSON (no NaN) that others see whole or not at all.

    Parameters
    ----------
    path
        The file.
    content
        What to write.
    rows
        The key of a long list, whose items get a line each.
    """
    text = json.dumps({**content, rows: []} if rows else content, indent=2, ensure_ascii=False, allow_nan=False)
    if rows:
        lines = [f"\n    {json.dumps(item, ensure_ascii=False, allow_nan=False)}" for item in content[rows]]
        text = text.replace(f'\n  "{rows}": []', f'\n  "{rows}": [{",".join(lines)}\n  ]', 1)
    write_atomically(path, (text + "\n").encode())
