"""Which addresses the server connects to, with a real server on this machine in the place of a public host."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latentsync.errors import InputError
from latentsync.server.download import download
from latentsync.server.outbound import Outbound, is_public


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"])
def test_public_addresses(address: str):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
     "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
     "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "fe80::1%eth0", "localhost", ""],
)  # fmt: skip
def test_private_addresses(address: str):
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/x", "file:///etc/passwd", "//a.example/x", "a.example/x", "http://", "http://b.example/x",
     "http://a.example.b.example/", "http://user:word@a.example/", "http://a.example:22/", "http://a.example:x/",
     "http://a.example@b.example/", "http://[::1]/", "http://127.0.0.1/", "http://[a.example/", "http://a.example/\n",
     "http://a.example/\u00e9", "http://a.example/" + "x" * 3000, "", "gopher://a.example/", "http://.a.example/"],
)  # fmt: skip
def test_addresses_that_are_not_allowed_are_refused_before_a_name_is_resolved(url: str):
    def resolve(host: str, port: int) -> list[str]:
        raise AssertionError(host)

    with pytest.raises(InputError), Outbound(("a.example",), resolve=resolve).send("GET", url):
        pytest.fail(url)


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["93.184.216.34", "127.0.0.1"], []])
def test_an_allowed_name_with_a_private_address_is_refused(addresses: list[str]):
    outbound = Outbound(("a.example",), resolve=lambda host, port: addresses)
    with pytest.raises(InputError, match="private address"), outbound.send("GET", "http://a.example/"):
        pytest.fail("it was sent")


def test_ports_and_case_of_the_list():
    outbound = Outbound(("A.example", "b.example:8443"))
    assert outbound.check("https://a.EXAMPLE/x") == ("https", "a.example", 443)
    assert outbound.check("https://b.example:8443/x")[2] == 8443
    with pytest.raises(InputError, match="allow_hosts"):
        outbound.check("https://b.example/x")
    with pytest.raises(InputError, match="give names"):
        Outbound(("http://a.example/",))


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers by path, and records the requests."""

    requests: list[tuple[str, str, bytes, dict[str, str]]]

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.requests.append((self.command, self.path, body, {k.lower(): v for k, v in self.headers.items()}))
        status = {"/moved": 302, "/absent": 404}.get(self.path, 200)
        self.send_response(status)
        if status == 302:
            self.send_header("location", "/film.mp4")
        content = b"x" * (5000 if self.path == "/large" else 10)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@contextmanager
def web_server() -> Iterator[tuple[Outbound, str, list[tuple[str, str, bytes, dict[str, str]]]]]:
    """Serve on this machine; yield what connects to it under another name, its address, and the requests."""
    handler = type("Recording", (Answers,), {"requests": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        host = f"media.example:{server.server_port}"
        outbound = Outbound((host,), lambda name, port: ["127.0.0.1"], lambda address: True, timeout_s=5)
        yield outbound, f"http://{host}", handler.requests
        server.shutdown()
        thread.join()


def test_a_file_is_downloaded_from_the_address_that_was_checked(tmp_path: Path):
    with web_server() as (outbound, url, requests):
        download(outbound, f"{url}/film.mp4", tmp_path / "film.mp4", max_bytes=100)
        assert (tmp_path / "film.mp4").read_bytes() == b"x" * 10
        assert requests[0][3]["host"] == url.removeprefix("http://")


@pytest.mark.parametrize(
    ("path", "words"), [("/moved", "status 302"), ("/absent", "status 404"), ("/large", "the maximum")]
)
def test_redirects_errors_and_large_files_are_refused(tmp_path: Path, path: str, words: str):
    with web_server() as (outbound, url, requests):
        with pytest.raises(InputError, match=words):
            download(outbound, url + path, tmp_path / "film.mp4", max_bytes=1000)
        assert [request[1] for request in requests] == [path]


def test_a_host_that_sends_slowly_is_left(tmp_path: Path):
    with web_server() as (outbound, url, _), pytest.raises(InputError, match="took more than 0 s: use a faster host"):
        download(outbound, f"{url}/film.mp4", tmp_path / "film.mp4", max_bytes=100, max_seconds=0)
    assert (tmp_path / "film.mp4").read_bytes() == b""


def test_a_host_that_does_not_answer_is_one_line(tmp_path: Path):
    with web_server() as (outbound, url, _):
        pass
    with pytest.raises(InputError, match=r"media.example did not answer"):
        download(outbound, f"{url}/film.mp4", tmp_path / "film.mp4", max_bytes=100)
