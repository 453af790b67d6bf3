"""Downloads from a real server on this machine, whose first mirror misbehaves in every way."""

import functools
import hashlib
import os
import random
import socket
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat
from unittest.mock import Mock

import pytest

import data
from harness import downloads
from harness.downloads import Expected, read_or_download
from harness.errors import UserError

CONTENT = random.Random(0).randbytes(200_000)  # several pieces
EXPECTED = Expected(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
NAME = "train-images-idx3-ubyte.gz"
STALL, TOTAL = 0.3, 1.0  # seconds
OVER = threading.Event()  # set when the server is to let go of those that it keeps waiting
BOTH_THERE = threading.Barrier(2)


class Mirror(BaseHTTPRequestHandler):
    """Answers `/<behaviour>/<file>` with what `ANSWERS` has for the behaviour, part by part."""

    def do_GET(self):
        behaviour, name = self.path[1:].split("/")
        self.server.asked.append(behaviour)
        try:
            for part in ANSWERS[behaviour](self.server.files[name]):
                self.wfile.write(part)
                self.server.sent += len(part)
        except ConnectionError:
            self.close_connection = True  # the client has had enough

    def log_message(self, *_):
        pass


def answer(content: bytes, status="200 OK", of: bytes = b"", **headers: str) -> bytes:
    """What goes over the wire; a length is told of what the content is the beginning of."""
    headers |= {"Content-Length": str(len(of))} if of else {}
    lines = [f"HTTP/1.0 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content


def together(content):
    yield answer(content[:100], of=content)
    BOTH_THERE.wait(timeout=20)
    yield content[100:]


def stalling(content):
    yield answer(content[:100], of=content)
    OVER.wait(20)


def dripping(begin: bytes):
    yield begin
    while not OVER.wait(0.05):
        yield b"x"


def redirect(target: str):
    return lambda content: [answer(b"", "302 Found", Location=target)]


ANSWERS = {
    "good": lambda content: [answer(content, of=content)],
    "without_length": lambda content: [answer(content)],
    "together": together,
    "slow": lambda content: dripping(answer(b"", of=content)),
    "slow_header": lambda _: dripping(b"HTTP/1.0 200 OK\r\nX: "),
    "stalling": stalling,
    "endless": lambda _: chain([answer(b"")], repeat(bytes(2**16))),
    "huge": lambda _: [answer(b"", **{"Content-Length": str(10 * 10**12)})],
    "cut": lambda content: [answer(content[:-7], of=content)],
    "long": lambda content: [answer(content + b"!")],
    "cut_chunk": lambda _: [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\nhalf"],
    "no_http": lambda _: [b"\x16\x03\x01 what is this"],
    "forbidden": lambda _: [answer(b"", "403 Forbidden")],
    "wrong": lambda content: [answer(b"x" * len(content))],
    "redirect_bracket": redirect("http://[bad/"),
    "redirect_label": redirect(f"http://{'a' * 70}.example/"),
    "redirect_file": redirect("file:///etc/hostname"),
    "redirect_home": redirect(f"/good/{NAME}"),
}
FAILURES = list(ANSWERS)[3:]


@pytest.fixture
def server(monkeypatch):
    """The server; `server.mirror(behaviour)` is the address of a mirror."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    OVER.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        server.daemon_threads = True
        server.asked, server.sent, server.files = [], 0, {NAME: CONTENT}
        server.mirror = f"http://127.0.0.1:{server.server_port}/{{}}/".format
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        OVER.set()
        server.shutdown()


fetch = functools.partial(read_or_download, expected=EXPECTED, stall=STALL, total=TOTAL)


@pytest.mark.parametrize("good", ["good", "without_length"])
def test_downloads_once(good, server, tmp_path, capfd):
    path = tmp_path / "new" / "folder" / NAME
    assert fetch(path, mirrors=[server.mirror(good)]) == CONTENT
    assert fetch(path, mirrors=[server.mirror(good)]) == path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == [NAME]
    assert path.stat().st_mode & 0o777 == 0o644
    assert server.asked == [good]
    assert capfd.readouterr() == (f"downloading {server.mirror(good)}{NAME}\n", "")


@pytest.mark.parametrize("failure", FAILURES)
def test_asks_the_second_mirror_when_the_first_fails(failure, server, tmp_path):
    start = time.monotonic()
    mirrors = [server.mirror(failure), server.mirror("good")]
    assert fetch(tmp_path / NAME, mirrors=mirrors) == CONTENT
    assert server.asked[0] == failure and server.asked[-1] == "good"
    assert time.monotonic() - start < TOTAL + 2
    assert server.sent < 50_000_000  # what the system's buffers take, not what there is
    assert os.listdir(tmp_path) == [NAME]


def test_asks_the_second_mirror_when_the_system_fails(tmp_path, monkeypatch):
    answers = Mock(side_effect=[LookupError("unknown encoding: idna"), CONTENT])
    monkeypatch.setattr(downloads, "_read", answers)
    mirrors = ["http://first.invalid/", "http://second.invalid/"]
    assert fetch(tmp_path / NAME, mirrors=mirrors) == CONTENT


def test_when_every_mirror_fails_one_line_says_why_and_nothing_stays(server, tmp_path):
    mirrors = [server.mirror(behaviour) for behaviour in FAILURES if "slow" not in behaviour]
    with pytest.raises(UserError) as error:
        fetch(tmp_path / NAME, mirrors=mirrors)
    line = str(error.value)
    assert line.isprintable() and len(line) < 5000
    assert all(mirror + NAME in line for mirror in mirrors)
    reasons = ["Forbidden", "timed out", "other checksum", "not public", "10,000,000,000,000 bytes"]
    assert [reason for reason in reasons if reason not in line] == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interrupt_is_not_the_mirrors_fault(error, server, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", Mock(side_effect=error))
    with pytest.raises(type(error)):
        fetch(tmp_path / NAME, mirrors=[server.mirror("good"), server.mirror("good")])
    assert server.asked == ["good"]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("target", [
    "http://169.254.169.254/x", "http://127.0.0.1/x", "http://10.0.0.1/x", "http://192.168.1.1/x",
    "http://[::1]/x", "http://[fe80::1]/x", "ftp://1.1.1.1/x", "file:///etc/hostname",
])  # fmt: skip
def test_no_redirect_leads_into_our_own_network(target):
    request = urllib.request.Request("https://example.org/x")
    redirect = downloads.PublicRedirects().redirect_request
    with pytest.raises(ValueError, match="it leads to"):
        redirect(request, None, 302, "", {}, target)
    assert redirect(request, None, 302, "", {}, "https://1.1.1.1/y").full_url.endswith("/y")


def test_a_proxy_that_is_dead_is_named(tmp_path, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("http_proxy", f"http://me:secret@{proxy}")
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(UserError, match=f"refused, through the proxy {proxy} of http_proxy"):
            fetch(tmp_path / NAME, mirrors=["http://mirror.example/"])


def test_two_at_once_on_an_empty_folder(server, tmp_path):
    path = tmp_path / "raw" / NAME
    with ThreadPoolExecutor(2) as pool:
        started = [pool.submit(fetch, path, mirrors=[server.mirror("together")]) for _ in range(2)]
    assert [one.result() for one in started] == [CONTENT] * 2
    assert server.asked == ["together"] * 2
    assert path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == [NAME]


def test_a_larger_file_in_place_of_an_archive_is_not_read(tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT + b"!")
    with pytest.raises(UserError, match=r"200,001 bytes, which is more than"):
        fetch(tmp_path / NAME, mirrors=[])


@pytest.fixture
def mirrors(server, archives, monkeypatch):
    """A setter of two behaviours of the server that stand in for Fashion-MNIST's mirrors."""
    server.files, theirs = archives, "torchvision.datasets.FashionMNIST.mirrors"

    def use(first: str, second: str) -> None:
        monkeypatch.setitem(data.HTTPS_MIRRORS, "fashion", [server.mirror(first)])
        monkeypatch.setattr(theirs, [server.mirror(second)])

    return use


def test_the_data_set_comes_from_the_second_mirror_and_once(mirrors, server, archives, tmp_path):
    mirrors("cut", "good")
    for _ in range(2):
        assert len(data.load_dataset("fashion", tmp_path).train_images) == 120
    assert server.asked == ["cut", "good"] * 4
    raw = tmp_path / "FashionMNIST" / "raw"
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == archives


def test_a_data_set_that_no_mirror_has(mirrors, tmp_path):
    mirrors("wrong", "forbidden")
    way_out = r"raw'.*--data-dir.*--dataset digits"
    why = r"wrong/train.*other checksum.*forbidden/train.*Forbidden"
    with pytest.raises(UserError, match=f"{why}.*{way_out}") as error:
        data.load_dataset("fashion", tmp_path)
    assert str(error.value).isprintable()
    with pytest.raises(UserError, match=f"is missing: .*{way_out}"):
        data.load_dataset("fashion", tmp_path, download=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
