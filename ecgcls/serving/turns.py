"""One thread for all that is computed: first come, first served, and the event loop is never blocked.

One, not several: the readers of device files collect warnings, which Python keeps for the whole process, so that a
second thread would mix what is told of two people's files. The nets use the cores by themselves.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import Request

_Result = TypeVar("_Result")


class Gone(Exception):
    """Whoever asked is not there any more."""


class Turns:
    """A queue and its thread."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ecgcls")

    async def run(self, function: Callable[[], _Result]) -> _Result:
        """Return what a function returns when its turn has come; it is left out if this is cancelled before."""
        return await asyncio.wrap_future(self._worker.submit(function))

    async def run_for(self, request: Request, function: Callable[[], _Result]) -> _Result:
        """Do as `run` for a request that has been received; `Gone` if its sender leaves before."""
        work = self._worker.submit(function)
        job = asyncio.wrap_future(work)
        left = asyncio.ensure_future(request.receive())  # nothing more can come but its end
        try:
            both: list[asyncio.Future[Any]] = [job, left]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not job.done():
                raise Gone
            return job.result()
        finally:
            work.cancel()
            job.cancel()
            left.cancel()

    def close(self) -> None:
        """Leave out what is still waiting."""
        self._worker.shutdown(wait=False, cancel_futures=True)
