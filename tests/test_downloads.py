"""Downloads from a real server on this machine, whose first mirror misbehaves in every way."""

import functools
import hashlib
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import data
from harness import downloads
from harness.downloads import Expected, read_or_download
from harness.errors import UserError

HERE = Path(__file__).parents[1]
CONTENT = random.Random(0).randbytes(200_000)  # several pieces
EXPECTED = Expected(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
NAME = "train-images-idx3-ubyte.gz"
STALL, TOTAL = 0.3, 1.0  # seconds
OVER = threading.Event()  # set when the server is to let go of those that it keeps waiting


class Mirror(BaseHTTPRequestHandler):
    """Answers `/<behaviour>/<file>`; each behaviour is a method, or a key of `ANSWERS`."""

    def do_GET(self):
        behaviour, name = self.path[1:].split("/")
        self.server.asked.append(behaviour)
        content = self.server.files[name]
        try:
            if behaviour in ANSWERS:
                self.wfile.write(ANSWERS[behaviour](content))
            else:
                getattr(self, behaviour)(content)
        except ConnectionError:
            self.close_connection = True  # the client has had enough

    def together(self, content):
        self.wfile.write(answer(content[:100], of=content))
        self.server.both_there.wait(timeout=20)
        self.wfile.write(content[100:])

    def slow(self, content, begin=None):
        self.wfile.write(begin or answer(b"", of=content))
        while not OVER.wait(0.05):
            self.wfile.write(b"x")

    def slow_header(self, content):
        self.slow(content, b"HTTP/1.0 200 OK\r\nX: ")

    def stalling(self, content):
        self.wfile.write(answer(content[:100], of=content))
        OVER.wait(20)

    def endless(self, content):
        self.wfile.write(answer(b""))
        while not OVER.is_set():
            self.wfile.write(bytes(2**16))
            self.server.sent += 2**16

    def log_message(self, *_):
        pass


def answer(content: bytes, status="200 OK", of: bytes = b"", **headers: str) -> bytes:
    """What goes over the wire; a length is told of what the content is the beginning of."""
    headers |= {"Content-Length": str(len(of))} if of else {}
    lines = [f"HTTP/1.0 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content


def redirect(target: str):
    return lambda content: answer(b"", "302 Found", Location=target)


ANSWERS = {
    "good": lambda content: answer(content, of=content),
    "without_length": answer,
    "huge": lambda content: answer(b"", **{"Content-Length": str(10 * 10**12)}),
    "cut": lambda content: answer(content[:-7], of=content),
    "long": lambda content: answer(content + b"!"),
    "cut_chunk": lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\nhalf",
    "no_http": lambda _: b"\x16\x03\x01 what is this",
    "forbidden": lambda _: answer(b"", "403 Forbidden"),
    "wrong": lambda content: answer(b"x" * len(content)),
    "redirect_bracket": redirect("http://[bad/"),
    "redirect_label": redirect(f"http://{'a' * 70}.example/"),
    "redirect_file": redirect("file:///etc/hostname"),
    "redirect_home": redirect(f"/good/{NAME}"),
}
FAILURES = ["slow", "slow_header", "stalling", "endless", *list(ANSWERS)[2:]]


@pytest.fixture
def server(monkeypatch):
    """The server; `server.mirror(behaviour)` is the address of a mirror."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    OVER.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        server.daemon_threads = True
        server.asked, server.sent, server.files = [], 0, {NAME: CONTENT}
        server.both_there = threading.Barrier(2)
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


@pytest.mark.parametrize("error", [LookupError("unknown encoding: idna"), OSError(), MemoryError()])
def test_asks_the_second_mirror_when_the_system_fails(error, server, tmp_path, monkeypatch):
    resolve = socket.getaddrinfo

    def getaddrinfo(host, *args, **options):
        if host == "first.invalid":
            raise error
        return resolve(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    mirrors = ["http://first.invalid/", server.mirror("good")]
    assert fetch(tmp_path / NAME, mirrors=mirrors) == CONTENT
    assert server.asked == ["good"]


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
    def fsync(_):
        raise error

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(type(error)):
        fetch(tmp_path / NAME, mirrors=[server.mirror("good"), server.mirror("good")])
    assert server.asked == ["good"]
    assert os.listdir(tmp_path) == []


PRIVATE = ["169.254.169.254", "127.0.0.1", "10.0.0.1", "192.168.1.1", "[::1]", "[fe80::1]"]


@pytest.mark.parametrize(
    "target",
    [*(f"http://{host}/x" for host in PRIVATE), "ftp://1.1.1.1/x", "file:///etc/hostname"],
)
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


def test_two_processes_on_an_empty_folder(server, tmp_path):
    path = tmp_path / "raw" / NAME
    code = (
        "from pathlib import Path; from harness.downloads import Expected, read_or_download;"
        f"read_or_download(Path({str(path)!r}), {EXPECTED!r}, [{server.mirror('together')!r}])"
    )
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, cwd=HERE) for _ in range(2)]
    assert [process.wait(timeout=30) for process in processes] == [0, 0]
    assert server.asked == ["together"] * 2
    assert path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == [NAME]


def of_20_gigabytes(path):
    path.touch()
    os.truncate(path, 20 * 10**9)


def device(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [of_20_gigabytes, os.mkfifo, os.mkdir, device])
def test_what_lies_in_place_of_an_archive_is_not_read(make, tmp_path):
    make(tmp_path / NAME)
    with pytest.raises(UserError, match=r"not a regular file|20,000,000,000 bytes"):
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
    way_out = r"wrong/train.*other checksum.*forbidden/train.*Forbidden.*raw'.*--dataset digits"
    with pytest.raises(UserError, match=way_out) as error:
        data.load_dataset("fashion", tmp_path)
    assert str(error.value).isprintable()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
