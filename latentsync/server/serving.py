"""The running service: a socket, the application, and the thread that serves it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import uvicorn

from latentsync.server.api import build_api
from latentsync.server.lipsync_work import Work
from latentsync.server.service import running
from latentsync.server.settings import ServiceSettings

_START_S = 0.02
_SHUTDOWN_S = 5
"""Time for open requests to end when the service is stopped."""


@contextmanager
def serving(work: Work, settings: ServiceSettings, bound: socket.socket) -> Iterator[str]:
    """Serve while the block runs; yield the address.

    Args:
        work: does the work of a job.
        settings: of the service.
        bound: result of `ServiceSettings.bind`; closed at the end.

    Raises:
        InputError: the work folder, the keys or the roots cannot be used.
    """
    keys, outbound, roots = settings.read_keys(), settings.outbound(), settings.roots()
    with (
        closing(bound),
        running(work, settings.folders(), settings.max_queued, keys, outbound, roots) as service,
    ):
        config = uvicorn.Config(
            build_api(service),
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([bound],), name="latentsync-http", daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                thread.join(_START_S)
            host, port = bound.getsockname()[:2]
            yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
        finally:
            service.queue.interrupt()  # before the requests end, so that no job counts as failed
            server.should_exit = True
            thread.join()
