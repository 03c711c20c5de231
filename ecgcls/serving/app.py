"""The routes of the server."""

import json
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from ecgcls import __version__
from ecgcls.errors import ConfigError
from ecgcls.files import printable
from ecgcls.serving import interface
from ecgcls.serving.answers import BatchLine, BundleAnswer, Health, PredictAnswer, Refusal
from ecgcls.serving.description import describe_bundle
from ecgcls.serving.guard import Guard
from ecgcls.serving.limits import Admission, Limits, Refused
from ecgcls.serving.predicting import NOTICE, Wishes
from ecgcls.serving.service import Batch, Service
from ecgcls.serving.turns import Gone, Turns
from ecgcls.serving.uploads import Upload, receive

if TYPE_CHECKING:
    from ecgcls.jobs.predictor import Predictor

log = logging.getLogger(__name__)

_PAGE = Path(__file__).parent / "static"
_FIELDS = {
    "metadata": {"type": "string", "description": 'a JSON object, such as {"age": 63, "sex": 1}'},
    "error_rate": {"type": "number", "description": "above 0 and below 0.5: also yes, no or not certain"},
    "attribution": {"type": "array", "items": {"type": "string"}, "description": "classes: what they depend on"},
    "draw": {"type": "boolean", "description": "false: without the signal", "default": True},
    "draw_from_s": {"type": "number", "description": "where the drawn part begins, s", "default": 0},
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The form or a field of it is wrong"},
    408: {"model": Refusal, "description": "The request came too slowly"},
    413: {"model": Refusal, "description": "Too large"},
    415: {"model": Refusal, "description": "No form"},
    422: {"model": Refusal, "description": "The recording cannot be used"},
    503: {"model": Refusal, "description": "Too many requests are waiting: try again after Retry-After seconds"},
}


def make_app(
    predictor: "Predictor",
    *,
    facts: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    hosts: Sequence[str] = (),
    is_local: bool = True,
) -> ASGIApp:
    """Return the server's application.

    Parameters
    ----------
    predictor
        What answers; one thread alone asks it.
    facts
        The content of a bundle's ``metadata.json``, as far as there is one.
    hosts, is_local
        Further names that the server is reached by, and whether it is bound to loopback: see `Guard`.
    """
    limits = limits or Limits()
    service, turns, admission = Service(predictor, limits), Turns(), Admission(limits)

    @asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        yield
        turns.close()

    app = FastAPI(title="ecgcls", version=__version__, description=NOTICE, docs_url=None, redoc_url=None, lifespan=live)
    app.add_exception_handler(Refused, _refuse)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(Gone, _forget)
    app.add_exception_handler(ClientDisconnect, _forget)
    app.add_exception_handler(Exception, _fail)
    interface.add_page(app, interface.find_files())
    described = describe_bundle(predictor, facts or {}, limits, service.why_not_certain)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(_PAGE / "index.html")

    @app.get("/healthz", summary="Whether the server is up")
    async def healthz() -> Health:
        """Say that the server is up."""
        return Health(waiting=admission.n_waiting)

    @app.get("/api/bundle", summary="What the bundle is, takes and cannot know")
    async def bundle() -> BundleAnswer:
        """Say what the bundle is, takes and cannot know."""
        return described

    @app.post(
        "/api/predict",
        summary="Predict one recording",
        responses={200: {"model": PredictAnswer}, **_REFUSALS},
        openapi_extra=_form(*_FIELDS),
    )
    async def predict(request: Request) -> Response:
        """Predict one recording: one file, the files of a WFDB record, or a ZIP file of them."""
        with admission.enter() as place:
            upload = await receive(request, limits, place)
            wishes = _read_wishes(upload, predictor, may_have=_FIELDS)
            body = await turns.run_for(request, partial(service.predict, upload.files, wishes))
        return Response(body, media_type="application/json")

    @app.post(
        "/api/batch",
        summary="Predict many recordings",
        responses={200: {"model": BatchLine}, **_REFUSALS},
        openapi_extra=_form("error_rate"),
    )
    async def batch(request: Request) -> Response:
        """Predict many recordings: a line of JSON (NDJSON) for each, as soon as it is done."""
        with ExitStack() as stack:
            place = stack.enter_context(admission.enter())
            upload = await receive(request, limits, place)
            wishes = _read_wishes(upload, predictor, may_have=("error_rate",))
            work = stack.enter_context(await turns.run_for(request, partial(service.open_batch, upload.files, wishes)))
            return _BatchResponse(_list_lines(work, turns), stack.pop_all())

    app.mount("/static", StaticFiles(directory=_PAGE))
    return Guard(app, hosts=hosts, is_local=is_local)


class _BatchResponse(StreamingResponse):
    """Lines that are sent as they come; what they need is given back at the end, however it comes."""

    def __init__(self, lines: AsyncIterator[bytes], needed: ExitStack) -> None:
        super().__init__(lines, media_type="application/x-ndjson")
        self._needed = needed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._needed:
            await super().__call__(scope, receive, send)


async def _list_lines(work: Batch, turns: Turns) -> AsyncIterator[bytes]:
    """Yield a line for each recording, between which other requests have their turns."""
    for number in range(len(work)):
        yield await turns.run(partial(work.answer, number))


def _read_wishes(upload: Upload, predictor: "Predictor", *, may_have: Collection[str]) -> Wishes:
    """Read the fields of a form; a field that is not known is refused, as is a value that no recording can have."""
    for name, values in upload.fields.items():
        if name not in may_have:
            raise Refused(400, f"there is no field {printable(name)[:100]!r}; there are file, {', '.join(may_have)}")
        if len(values) > 1 and name != "attribution":
            raise Refused(400, f"the field {name} is given {len(values)} times, expected once")
    own = {name: values[0].strip() for name, values in upload.fields.items() if values[0].strip()}
    try:
        wishes = Wishes(
            metadata=_parse_metadata(own.get("metadata", "{}")),
            error_rate=_parse_number("error_rate", own["error_rate"]) if "error_rate" in own else None,
            attribution=tuple(dict.fromkeys(name for name in upload.fields.get("attribution", []) if name)),
            draws=_parse_flag("draw", own.get("draw", "true")),
            draw_from_s=_parse_number("draw_from_s", own.get("draw_from_s", "0")),
        )
        wishes.check(predictor)
    except ConfigError as error:
        raise Refused(400, printable(str(error))[:500]) from error
    return wishes


def _parse_metadata(text: str) -> Mapping[str, float | None]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError('metadata must be a JSON object such as {"age": 63, "sex": 1}') from error
    if not isinstance(found, dict):
        raise ConfigError('metadata must be a JSON object such as {"age": 63, "sex": 1}')
    return found


def _parse_number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"{name} must be a number, got {text[:50]!r}") from error


def _parse_flag(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise ConfigError(f"{name} must be true or false, got {text[:50]!r}")
    return text == "true"


def _form(*fields: str) -> dict[str, Any]:
    """Describe a form for the page of the interface."""
    files = {"type": "array", "items": {"type": "string", "format": "binary"}}
    properties = {"file": files, **{name: _FIELDS[name] for name in fields}}
    schema = {"type": "object", "required": ["file"], "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    later = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return JSONResponse({"error": error.error}, error.status, headers=later)


async def _refuse_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)


async def _fail(_: Request, error: Exception) -> Response:
    """Answer a fault of the server itself, without what it says, which may quote what was sent."""
    log.error("a request failed: %s", type(error).__name__)
    return JSONResponse({"error": f"the server failed ({type(error).__name__}); please report it"}, 500)


async def _forget(_: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it
