import json
import resource
import subprocess
import sys

import pytest

from ecgcls.training.memory import keep_freed_memory

PAGE = resource.getpagesize()
COUNT_FAULTS = f"""
import json, resource, sys
import numpy as np
from ecgcls.training.memory import keep_freed_memory

taken = keep_freed_memory() if "keep" in sys.argv else None
before = 0
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [np.ones({PAGE} * 1000, dtype=np.uint8) for _ in range(10)]  # a thousand pages each
    del tensors
print(json.dumps([taken, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before]))
"""


def count_faults(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS, *arguments], check=True, capture_output=True, text=True, timeout=120
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_memory_is_used_again_without_page_faults():
    taken, n_kept = count_faults("keep")
    if not taken:
        pytest.skip("this C library has no such setting")
    _, n_returned = count_faults()
    assert n_kept < 1000 < n_returned  # of 10,000 pages written


def test_a_c_library_without_the_setting_is_no_error(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert keep_freed_memory() is False
