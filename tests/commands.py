"""Commands as a user types them, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
QUICK = ("data=synthetic", "data.n_records=60", "trainer.max_epochs=1", "trainer.accelerator=cpu")


def ecgcls(folder, *arguments, command="run", environment=None, python=(sys.executable,)):
    """Run ``python -m ecgcls.run``, or another command, in a folder."""
    clean = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}  # a test may have set it
    return subprocess.run(
        [*python, "-m", f"ecgcls.{command}", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        env={**clean, "COLUMNS": "200", **(environment or {})},
    )


def succeed(*arguments, **options):
    done = ecgcls(*arguments, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def write_third_party(folder):
    """Write somebody's package with a linear net; return the environment and the argument that make it known."""
    package = folder / "mylab"
    (package / "conf" / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "conf" / "__init__.py").touch()
    (package / "nets.py").write_text(
        "from torch import nn\n\n\n"
        "class Linear(nn.Module):\n"
        "    def __init__(self, n_leads, n_samples, n_classes, *, scale: float = 1.0):\n"
        "        super().__init__()\n"
        "        self.layer, self.scale = nn.Linear(n_leads * n_samples, n_classes), scale\n\n"
        "    def forward(self, signal):\n"
        "        return self.layer(self.scale * signal.flatten(1))\n"
    )
    (package / "conf" / "model" / "linear.yaml").write_text(
        "_target_: mylab.nets.Linear\n_partial_: true\nscale: 0.01\n"
    )
    return {"PYTHONPATH": str(folder)}, "hydra.searchpath=[pkg://mylab.conf]"
