"""onnxruntime, opened for a graph from anybody: within bounds on memory, and what goes wrong is one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from threading import Timer
from typing import TYPE_CHECKING

from ecgcls.errors import DataError
from ecgcls.files import printable

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray

_MAX_BYTES = 4_000_000_000
"""Of all that the graphs of a process compute with at one time."""
_MAX_FOLDED_BYTES = 100_000_000
"""Of one constant that is computed when a graph is opened."""


def open_session(
    content: bytes, *, where: object, n_threads: int = 0, provider: str = "CPUExecutionProvider"
) -> onnxruntime.InferenceSession:
    """Open an ONNX file that `ecgcls.bundles.graph_file.check_graph` has passed; 0 threads: one per core.

    It is opened from memory, so that no other file can be meant; settings in the file do not count.
    """
    import onnxruntime as ort

    _limit_memory()
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = n_threads, 1
    options.log_severity_level = 4  # what goes wrong is raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a busy neighbor would stall them all
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(_MAX_FOLDED_BYTES))
    try:
        return ort.InferenceSession(content, options, providers=[provider], read_config_from_model=0, enable_fallback=0)
    except Exception as error:  # onnxruntime's own, which share no base
        raise _explain(where, error) from None


def run_session(
    session: onnxruntime.InferenceSession,
    inputs: Mapping[str, NDArray],
    outputs: Sequence[str] | None = None,
    *,
    where: object,
    limit_s: float | None = None,
) -> list[NDArray]:
    """Return the outputs of a graph; an error of the runtime is a `DataError`.

    After `limit_s` it is stopped, once the operator that it computes is done.
    """
    import onnxruntime as ort

    options = ort.RunOptions()
    timer = Timer(limit_s or 0.0, setattr, (options, "terminate", True))
    try:
        if limit_s is not None:
            timer.daemon = True
            timer.start()
        found: list[NDArray] = session.run(outputs, dict(inputs), options)
        return found
    except Exception as error:
        if options.terminate:
            raise DataError(f"{where}: it has not answered within {limit_s:g} s") from None
        raise _explain(where, error) from None
    finally:
        timer.cancel()


@cache
def _limit_memory() -> None:
    """Bound the memory of all graphs of this process, which share it; it is taken as it is needed."""
    import onnxruntime as ort

    arena = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    memory = ort.OrtMemoryInfo("Cpu", arena, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": _MAX_BYTES}))


def _explain(where: object, error: Exception) -> DataError:
    text = printable(" ".join(str(error).split()))
    if "Available memory" in text:
        return DataError(
            f"{where}: it needs more than {_MAX_BYTES / 1e9:g} GB of memory; give it fewer records at a time"
        )
    return DataError(f"{where}: onnxruntime refuses it ({text[:200]})")
