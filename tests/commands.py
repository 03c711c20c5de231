"""Commands as a user types them, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
QUICK = ("data=synthetic", "data.n_records=60", "trainer.max_epochs=1", "trainer.accelerator=cpu")


def ecgcls(folder, *arguments, command="run", environment=None, python=(sys.executable,)):
    """Run ``python -m ecgcls.run``, or another command, in a folder."""
    return subprocess.run(
        [*python, "-m", f"ecgcls.{command}", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "COLUMNS": "200", **(environment or {})},
    )


def succeed(*arguments, **options):
    done = ecgcls(*arguments, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done
