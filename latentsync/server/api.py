"""The HTTP API: routes, bodies and errors. `service` does everything else."""

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import latentsync
from latentsync.errors import LatentSyncError
from latentsync.jobs.queue import NUM_CHECKS
from latentsync.jobs.visible_text import UNEXPECTED, error_line
from latentsync.server.access import client_of
from latentsync.server.api_error import ApiError
from latentsync.server.docs_page import docs_page
from latentsync.server.dub_request import FIELDS, INPUTS
from latentsync.server.form_receiver import MAX_FIELDS_BYTES, FormReceiver, ReceivedForm
from latentsync.server.lipsync_work import INPUT
from latentsync.server.metrics import CONTENT_TYPE
from latentsync.server.service import Service

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_CHUNK_TIMEOUT_S = 60.0
"""Time without a byte of an upload after which it is refused."""
_MIN_BYTES_PER_S = 16 * 1024
"""Mean rate below which an upload is refused, once it has taken `_CHUNK_TIMEOUT_S`."""
_DESCRIPTION = (
    "Send a video of a person and speech; get the video whose lips follow the speech. Errors are {error: one line}."
)
_UNAUTHORIZED: dict[int | str, dict[str, Any]] = {401: {"description": "no valid key"}}
_UNKNOWN: dict[int | str, dict[str, Any]] = {**_UNAUTHORIZED, 404: {"description": "unknown job"}}


def build_api(service: Service) -> FastAPI:
    """Build the application; `command` serves it."""
    api = FastAPI(
        title="LatentSync", description=_DESCRIPTION, version=latentsync.__version__, docs_url=None, redoc_url=None
    )
    _add_errors(api)
    _add_jobs(api, service)
    _add_state(api, service)
    return api


def _add_jobs(api: FastAPI, service: Service) -> None:
    checks = CapacityLimiter(NUM_CHECKS)

    @api.post(
        "/v1/jobs",
        status_code=201,
        openapi_extra={"requestBody": _body_schema()},
        responses={
            **_UNAUTHORIZED,
            400: {"description": "a field or an input cannot be used"},
            404: {"description": "a path is not below an input root"},
            413: {"description": "too large"},
            415: {"description": "neither a form nor JSON"},
            429: {"description": "the queue is full, or a limit of the key is reached"},
        },
    )
    async def submit(request: Request) -> JSONResponse:
        """Check inputs and options, and queue a job. JSON has the same fields, without files."""
        client = client_of(request, service.keys)
        _check_length(request, 2 * service.max_file_bytes + 2 * MAX_FIELDS_BYTES)
        folder = await to_thread.run_sync(service.new, client)
        try:
            form = await _receive(request, folder / INPUT, service.max_file_bytes)
            prepared = await to_thread.run_sync(service.prepare, folder, form, limiter=checks)
            if await request.is_disconnected():
                raise ClientDisconnect
            await to_thread.run_sync(service.submit, folder, prepared)
        except BaseException:
            service.folders.discard(folder)
            raise
        record = service.find(folder.name, client.name)
        return JSONResponse(service.view(record), 201, {"Location": f"/v1/jobs/{record.id}"})

    @api.get("/v1/jobs/{job_id}", responses=_UNKNOWN)
    def state(job_id: str, request: Request) -> JSONResponse:
        """Return state, progress and place in the queue of a job."""
        return JSONResponse(service.view(service.find(job_id, client_of(request, service.keys).name)))

    @api.get(
        "/v1/jobs/{job_id}/result",
        response_class=FileResponse,
        responses={**_UNKNOWN, 409: {"description": "not done"}, 410: {"description": "the result has expired"}},
    )
    def result(job_id: str, request: Request) -> FileResponse:
        """Return the generated video."""
        path = service.result(job_id, client_of(request, service.keys).name)
        return FileResponse(path, media_type="video/mp4", filename=f"{job_id}.mp4")

    @api.delete("/v1/jobs/{job_id}", responses=_UNKNOWN)
    def delete(job_id: str, request: Request) -> JSONResponse:
        """Cancel a job, which stops at its next progress report, or remove the files of one that has ended."""
        record = service.delete(job_id, client_of(request, service.keys).name)
        return JSONResponse(service.view(record), 200 if record.state.is_over else 202)


def _add_state(api: FastAPI, service: Service) -> None:
    @api.get("/healthz", responses={503: {"description": "jobs are not run any more"}})
    def health() -> JSONResponse:
        """Tell whether jobs are run; requires no key."""
        is_alive = service.queue.is_alive
        return JSONResponse({"status": "ok" if is_alive else "stopped"}, 200 if is_alive else 503)

    @api.get("/metrics", response_class=PlainTextResponse, responses=_UNAUTHORIZED)
    def metrics(request: Request) -> Response:
        """Return numbers for Prometheus."""
        client_of(request, service.keys)
        text = service.metrics.text(service.folders.store, len(service.queue.active()))
        return Response(text, media_type=CONTENT_TYPE)

    @api.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(api.openapi()))


async def _receive(request: Request, folder: Path, max_file_bytes: int) -> ReceivedForm:
    """Stream the body of a request to disk.

    Raises:
        ApiError: 408 if the client sends nothing for `_CHUNK_TIMEOUT_S`, or less than `_MIN_BYTES_PER_S`.
    """
    started, num_bytes = time.monotonic(), 0
    with FormReceiver(request.headers.get("content-type", ""), folder, INPUTS, max_file_bytes) as receiver:
        chunks = aiter(request.stream())
        while True:
            left_s = started + _CHUNK_TIMEOUT_S + num_bytes / _MIN_BYTES_PER_S - time.monotonic()
            try:
                chunk = await asyncio.wait_for(anext(chunks), min(left_s, _CHUNK_TIMEOUT_S))
            except StopAsyncIteration:
                break
            except asyncio.TimeoutError as error:
                raise ApiError(408, "the upload is too slow: send it over a faster connection") from error
            num_bytes += len(chunk)
            if chunk:
                await to_thread.run_sync(receiver.feed, chunk)
        return receiver.form()


def _check_length(request: Request, max_bytes: int) -> None:
    """Refuse a body that is too large before it is read; one without a length is counted while it arrives."""
    length = request.headers.get("content-length", "0")
    if not length.isdecimal():
        raise ApiError(400, "the content length is not valid")
    if len(length) > 18 or int(length) > max_bytes:
        raise ApiError(413, f"the request is larger than {max_bytes >> 20} MB")


def _add_errors(api: FastAPI) -> None:
    def answer_with(kind: type[Exception], build: Callable[[Any], JSONResponse]) -> None:
        async def handle(request: Request, error: Exception) -> JSONResponse:
            return build(error)

        handler: Callable[[Request, Exception], Awaitable[JSONResponse]] = handle
        api.add_exception_handler(kind, handler)

    answer_with(ApiError, lambda error: _error(error.status, error.line, error.headers))
    answer_with(LatentSyncError, lambda error: _error(400, error_line(error)))
    answer_with(OSError, lambda error: _error(507 if error.errno in _FULL_DISK else 500, error_line(error)))
    answer_with(ClientDisconnect, lambda error: _error(400, "the request was not completed"))
    answer_with(RequestValidationError, lambda error: _error(400, "the request is not valid"))
    answer_with(HTTPException, lambda error: _error(error.status_code, str(error.detail), error.headers))
    answer_with(Exception, lambda error: _error(500, UNEXPECTED))


def _error(status: int, line: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": line}, status, headers)


def _body_schema() -> dict[str, Any]:
    fields = {name: {**schema, "description": text} for name, (schema, text) in FIELDS.items()}
    files = {
        name: {"type": "string", "format": "binary", "description": f"or give {name}_url or {name}_path"}
        for name in INPUTS
    }
    return {
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "properties": {**files, **fields}}},
            "application/json": {"schema": {"type": "object", "properties": fields}},
        }
    }
