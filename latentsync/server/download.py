"""Downloads of inputs that a request names by their address."""

import time
from pathlib import Path

from latentsync.errors import InputError
from latentsync.server.outbound import Outbound

_HTTP_OK = 200


def download(outbound: Outbound, url: str, target: Path, max_bytes: int, max_seconds: float = 300.0) -> None:
    """Download a file.

    Args:
        outbound: sends the request.
        url: the address.
        target: file to write; remains incomplete after an error.
        max_bytes: maximum size.
        max_seconds: maximum time in all.

    Raises:
        InputError: the address is not allowed, the answer is not 200, or a limit is exceeded.
        OSError: the file cannot be written.
    """
    until = time.monotonic() + max_seconds
    with outbound.send("GET", url) as answer, target.open("xb") as file:
        if answer.status_code != _HTTP_OK:
            raise InputError(f"the address was answered with status {answer.status_code} instead of 200")
        size = 0
        for chunk in answer.iter_bytes():
            size += len(chunk)
            if size > max_bytes:
                raise InputError(f"the file at the address has more than {max_bytes >> 20} MB, the maximum")
            if time.monotonic() > until:
                raise InputError(
                    f"the download took more than {max_seconds:g} s: use a faster host, or upload the file"
                )
            file.write(chunk)
