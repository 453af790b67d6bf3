"""Downloads from a real server on this machine, whose first mirror misbehaves in every way."""

import functools
import hashlib
import io
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
    """Answers `/<behaviour>/<file>`, each behaviour being a method."""

    def do_GET(self):
        behaviour, name = self.path[1:].split("/")
        self.server.asked.append(behaviour)
        try:
            getattr(self, behaviour)(self.server.files[name])
        except ConnectionError:
            self.close_connection = True  # the client has had enough

    def begin(self, *headers: tuple[str, str], status: int = 200) -> None:
        self.send_response(status)
        for header in headers:
            self.send_header(*header)
        self.end_headers()

    def drip(self, content: bytes) -> None:
        for k in range(len(content)):
            if OVER.wait(0.05):
                return
            self.wfile.write(content[k : k + 1])

    def good(self, content):
        self.begin(("Content-Length", str(len(content))))
        self.wfile.write(content)

    def together(self, content):
        self.begin(("Content-Length", str(len(content))))
        self.wfile.write(content[:100])
        self.server.both_there.wait(timeout=20)
        self.wfile.write(content[100:])

    def without_length(self, content):
        self.begin()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class BadMirror(Mirror):
    """Ways to fail."""

    def slow(self, content):
        self.begin(("Content-Length", str(len(content))))
        self.drip(content)

    def slow_header(self, content):
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        self.drip(content)

    def stalling(self, content):
        self.begin(("Content-Length", str(len(content))))
        self.wfile.write(content[:100])
        OVER.wait(20)

    def endless(self, content):
        self.begin()
        while not OVER.is_set():
            self.wfile.write(bytes(2**16))
            self.server.sent += 2**16

    def huge(self, content):
        self.begin(("Content-Length", str(10 * 10**12)))

    def cut(self, content):
        self.begin(("Content-Length", str(len(content))))
        self.wfile.write(content[:-7])

    def long(self, content):
        self.without_length(content + b"!")

    def cut_chunk(self, content):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\nhalf")

    def no_http(self, content):
        self.wfile.write(b"\x16\x03\x01 what is this")

    def forbidden(self, content):
        self.begin(status=403)

    def wrong(self, content):
        self.without_length(b"x" * len(content))

    def redirect_bracket(self, content):
        self.begin(("Location", "http://[bad/"), status=302)

    def redirect_label(self, content):
        self.begin(("Location", f"http://{'a' * 70}.example/"), status=302)

    def redirect_file(self, content):
        self.begin(("Location", "file:///etc/hostname"), status=302)

    def redirect_home(self, content):
        self.begin(("Location", self.path.replace("redirect_home", "good")), status=302)


FAILURES = [name for name in vars(BadMirror) if not name.startswith("_")]


@pytest.fixture
def server(monkeypatch):
    """The server; `server.mirror(behaviour)` is the address of a mirror."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    OVER.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), BadMirror) as server:
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


def test_asks_the_second_mirror_when_nobody_listens_at_the_first(server, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        mirrors = [f"http://127.0.0.1:{unused.getsockname()[1]}/", server.mirror("good")]
        assert fetch(tmp_path / NAME, mirrors=mirrors) == CONTENT


def test_when_every_mirror_fails_one_line_says_why_and_nothing_stays(server, tmp_path):
    mirrors = [server.mirror(behaviour) for behaviour in FAILURES if "slow" not in behaviour]
    with pytest.raises(UserError) as error:
        fetch(tmp_path / NAME, mirrors=mirrors)
    line = str(error.value)
    assert line.isprintable() and len(line) < 5000
    assert all(mirror + NAME in line for mirror in mirrors)
    for reason in (
        "Forbidden",
        "timed out",
        "other checksum",
        "not public",
        "10,000,000,000,000 bytes",
    ):
        assert reason in line
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


def test_a_bar_on_a_terminal(server, tmp_path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    fetch(tmp_path / NAME, mirrors=[server.mirror("good")])
    assert "100%" in terminal.getvalue() and "200k/200k" in terminal.getvalue()


def start(path: Path, mirror: str) -> subprocess.Popen:
    """A process of its own that downloads `path`."""
    code = (
        "from pathlib import Path; from harness.downloads import Expected, read_or_download;"
        f"read_or_download(Path({str(path)!r}), {EXPECTED!r}, [{mirror!r}])"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=HERE, stdout=subprocess.DEVNULL)


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
        for name in ("http_proxy", "no_proxy"):
            monkeypatch.setenv(name, f"http://me:secret@{proxy}" if name == "http_proxy" else "")
        with pytest.raises(UserError, match=f"refused, through the proxy {proxy} of http_proxy"):
            fetch(tmp_path / NAME, mirrors=["http://mirror.example/"])


def test_two_processes_on_an_empty_folder(server, tmp_path):
    path = tmp_path / "raw" / NAME
    processes = [start(path, server.mirror("together")) for _ in range(2)]
    assert [process.wait(timeout=30) for process in processes] == [0, 0]
    assert server.asked == ["together"] * 2
    assert path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == [NAME]


def test_an_archive_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / NAME).touch()
    os.truncate(tmp_path / NAME, 20 * 10**9)
    with pytest.raises(UserError, match="20,000,000,000 bytes"):
        fetch(tmp_path / NAME, mirrors=[])


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_pipe_a_folder_or_a_device_in_place_of_an_archive_is_refused(make, tmp_path):
    make(tmp_path / NAME)
    with pytest.raises(UserError, match="not a regular file"):
        fetch(tmp_path / NAME, mirrors=[])


@pytest.fixture
def mirrors(server, archives, monkeypatch):
    """Have two addresses on the server stand in for Fashion-MNIST's; returns a setter of both."""
    from torchvision.datasets import FashionMNIST

    server.files = archives

    def use(first: str, second: str) -> None:
        monkeypatch.setitem(data.HTTPS_MIRRORS, "fashion", [server.mirror(first)])
        monkeypatch.setattr(FashionMNIST, "mirrors", [server.mirror(second)])

    return use


@pytest.mark.parametrize("failure", ["cut", "redirect_label"])
def test_the_data_set_comes_from_the_second_mirror(failure, mirrors, server, archives, tmp_path):
    mirrors(failure, "good")
    assert len(data.load_dataset("fashion", tmp_path).train_images) == 120
    assert server.asked == [failure, "good"] * 4
    raw = tmp_path / "FashionMNIST" / "raw"
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == archives
    data.load_dataset("fashion", tmp_path)
    assert len(server.asked) == 8


def test_a_data_set_that_no_mirror_has(mirrors, tmp_path):
    mirrors("wrong", "forbidden")
    way_out = r"wrong/train.*other checksum.*forbidden/train.*Forbidden.*raw'.*--dataset digits"
    with pytest.raises(UserError, match=way_out) as error:
        data.load_dataset("fashion", tmp_path)
    assert str(error.value).isprintable()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
