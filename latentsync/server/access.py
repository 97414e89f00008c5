"""Who may send requests: clients with a key, or without keys only programs on this machine."""

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import Request

from latentsync.server.api_error import ApiError
from latentsync.server.api_keys import ApiClient, ApiKeys

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_NO_LIMIT = 10**9
_LOCAL_CLIENT = ApiClient("", "", max_queued=_NO_LIMIT, max_per_hour=_NO_LIMIT)


def is_local_host(host: str) -> bool:
    """Return True for an address that only this machine can reach."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def client_of(request: Request, keys: ApiKeys | None) -> ApiClient:
    """Return who sends a request.

    Args:
        request: with the header ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.
        keys: the known keys; None: requests of programs on this machine need none. Those of web pages are refused, also
            if their host name leads to this machine.

    Raises:
        ApiError: 401 without a known key, 403 for a web page.
    """
    if keys is None:
        _check_no_web_page(request)
        return _LOCAL_CLIENT
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    client = keys.find(given)
    if client is None:
        raise ApiError(401, "a valid key is required: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
    return client


def _check_no_web_page(request: Request) -> None:
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = None
    is_own_page = origin is None or origin == f"{request.url.scheme}://{host}"
    if name not in LOCAL_NAMES or not is_own_page:
        raise ApiError(403, "requests of web pages are refused on a server without --keys")
