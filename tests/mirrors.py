"""Copies of a data set as its publisher would serve them."""

import hashlib
import zipfile
from pathlib import Path

SUMS = "SHA256SUMS.txt"


def write_mirror(folder: Path, root: Path) -> Path:
    """Copy a simulated data set into a folder, without what marks it as one, and list the files' SHA-256."""
    for name in sorted(list_files(root) - {"SYNTHETIC.json"}):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((root / name).read_bytes())
    (folder / SUMS).write_text("".join(f"{hash_file(folder / name)} {name}\n" for name in sorted(list_files(folder))))
    return folder


def write_zip(path: Path, mirror: Path, folder: str = "") -> Path:
    """Pack a mirror, in a folder of the archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(list_files(mirror)):
            archive.write(mirror / name, folder + name)
    return path


def list_files(folder: Path) -> set[str]:
    """Return the files of a data set, without what is hidden."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if not any(part.startswith(".") for part in path.parts)}


def hash_file(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
