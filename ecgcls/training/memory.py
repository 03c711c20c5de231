"""Keeps the C library from giving a training step's memory back only to ask for it again."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_LARGE = 1 << 30  # bytes


def keep_freed_memory() -> bool:
    """Have this process keep the memory of freed tensors; return whether the C library (glibc) took the setting.

    By default glibc returns large blocks to the kernel as they are freed, so each training step on a CPU pays for
    thousands of page faults: a fifth to a third of a small net's step. The process keeps its peak memory until it
    ends. See mallopt(3), https://man7.org/linux/man-pages/man3/mallopt.3.html.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGE))
