"""The other side: a real Prometheus, promtool, and pages of ours for them. On the loopback, at free ports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from failover.export.scrape import Scrape
from tests.prometheus.vans import Van

PATIENCE = 30.0
"""Seconds that a test waits for anything; the machine may be busy."""
INTERVAL = "1s"
"""Between two scrapes, and between two evaluations of the rules; a scrape that takes longer is as good as none."""
CONFIG = Path(__file__).resolve().parents[2] / "config"


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} (Debian: apt-get install prometheus)")
    return found


def promtool(*arguments: str, cwd: Path | None = None, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    argv = [program("promtool"), *arguments]
    return subprocess.run(argv, cwd=cwd, input=stdin, capture_output=True, check=False, timeout=PATIENCE)


class Yard:
    """Vans, each behind a server of its own, in the loop of a thread of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._servers: dict[str, Scrape] = {}
        self._scrapes: dict[str, int] = {}
        self._scraped = threading.Condition()

    def __enter__(self) -> Yard:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._servers):
            self.close(name)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def open(self, name: str, van: Van) -> int:
        """Serve it; the port."""

        def prepare() -> Callable[[], bytes]:
            with self._scraped:
                self._scrapes[name] = self._scrapes.get(name, 0) + 1
                self._scraped.notify_all()
            return van.page()

        self._servers[name] = server = Scrape("127.0.0.1:0", prepare, lambda: "")
        asyncio.run_coroutine_threadsafe(server.start(), self._loop).result(PATIENCE)
        return server.port

    def close(self, name: str) -> None:
        asyncio.run_coroutine_threadsafe(self._servers.pop(name).stop(), self._loop).result(PATIENCE)

    def scraped(self, name: str, more: int = 1) -> None:
        """Wait until it was scraped so many times more."""
        with self._scraped:
            wanted = self._scrapes.get(name, 0) + more
            assert self._scraped.wait_for(lambda: self._scrapes.get(name, 0) >= wanted, PATIENCE), f"{name} unscraped"

    def until(self, name: str, true: Callable[[], object]) -> None:
        """Look again after each scrape of it."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline
            self.scraped(name)


class Prometheus:
    """One that answers over HTTP, and says what it does in `lines`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._process = process
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        self._address = re.findall(r"address=(127\.0\.0\.1:[1-9]\d*)", self.said('msg="Listening on"'))[0]
        self.said("Server is ready to receive web requests")

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._more:
                self.lines.append(line)
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def said(self, words: str) -> str:
        with self._more:
            found = self._more.wait_for(lambda: [line for line in self.lines if words in line], PATIENCE)
        assert found, self.lines
        return found[0]

    def close(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        self._thread.join(PATIENCE)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def ask(self, path: str, **fields: str) -> Any:
        """The data of an answer; an AssertionError with its words where that is an error."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(fields)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{fields}: {error.read().decode()}") from None
        assert found["status"] == "success", found
        return found["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query; one without labels for a number."""
        data = self.ask("query", query=expression)
        return [{"metric": {}, "value": data["result"]}] if data["resultType"] == "scalar" else list(data["result"])


@contextlib.contextmanager
def prometheus(home: Path, config: str) -> Iterator[Prometheus]:
    """Scrapes and judges by this config until the end."""
    (home / "prometheus.yml").write_text(config)
    argv = [
        program("prometheus"),
        f"--config.file={home / 'prometheus.yml'}",
        f"--storage.tsdb.path={home / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        server = Prometheus(process)
    except BaseException:
        process.kill()
        raise
    try:
        yield server
    finally:
        server.close()
