"""Log lines against real pipes: whole, clean, and never in the way."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from failover.export.log import Log


@pytest.fixture
def pipe() -> object:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    for fd in (reader, writer):
        os.close(fd)


def test_one_line_per_fact(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    Log(writer).say("switch", "ipv4 au -> docomo:\nforged\x1b[2J \u202e line")
    assert os.read(reader, 9999) == b"failover: switch: ipv4 au -> docomo:?forged?[2J ? line\n"


def test_a_line_names_the_entry_that_it_tells_of(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log = Log(writer)
    log.say("switch", "ipv4 au -> docomo", "k3-17")
    log.say("switch", "ö" * 5000, "k3-18")
    first, second = os.read(reader, 9999).splitlines()
    assert first == b"failover: switch: ipv4 au -> docomo [k3-17]"
    assert second.endswith(b" [k3-18]")


def journal_of(fd: int, inode: int = 0) -> dict[str, str]:
    """The environment that systemd makes when that descriptor leads to the journal."""
    found = os.fstat(fd)
    return {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + inode}"}


@pytest.mark.parametrize(
    ("kind", "priority"),
    [("error", 3), ("warning", 4), ("kernel", 4), ("switch", 5), ("verdict", 6), ("config", 6), ("anything", 6)],
)
def test_the_journal_gets_priorities(pipe: tuple[int, int], kind: str, priority: int) -> None:
    reader, writer = pipe
    Log(writer, journal_of(writer)).say(kind, "<0>as it is", "k3-17")
    assert os.read(reader, 9999) == f"<{priority}>{kind}: <0>as it is [k3-17]\n".encode()


@pytest.mark.parametrize("stream", ["", "8:1", "rubbish", None])
def test_what_is_not_the_journal_gets_plain_lines(pipe: tuple[int, int], stream: str | None) -> None:
    reader, writer = pipe
    environment = journal_of(writer, inode=1) if stream is None else {"JOURNAL_STREAM": stream}
    Log(writer, environment).say("ready", "here")
    assert os.read(reader, 9999) == b"failover: ready: here\n"


def test_a_full_pipe_drops_lines_and_says_so_later(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log = Log(writer)
    for count in range(3000):  # far more than a pipe holds; a write that blocks would hang here
        log.say("verdict", f"{count:04} " + "x" * 1000)
    kept = os.read(reader, 1 << 20).decode().splitlines()
    assert len(kept) < 3000
    assert all(line.endswith("x" * 1000) for line in kept)
    log.say("ready", "again")
    lines = os.read(reader, 9999).decode().splitlines()
    assert lines == [
        f"failover: warning: {3000 - len(kept)} log lines were dropped because nobody read them",
        "failover: ready: again",
    ]


def test_a_closed_stderr_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    Log(writer).say("ready", "nobody listens")
    log = Log(writer)
    os.close(writer)
    log.say("ready", "nobody is there any more")
    Log(writer, {"JOURNAL_STREAM": "8:1"}).say("ready", "nobody was there")
    assert not os.path.exists(f"/proc/self/fd/{writer}")


def test_no_socket_of_ours_becomes_stderr() -> None:
    script = (
        "import os, socket\n"
        "from failover.export.log import claim_standard_streams\n"
        "claim_standard_streams()\n"
        "s = socket.socket()\n"
        "print(s.fileno() > 2, os.readlink('/proc/self/fd/2'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True, preexec_fn=lambda: os.close(2)
    )
    assert done.stdout == "True /dev/null\n"


def test_a_long_line_is_cut(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    Log(writer).say("warning", "ö" * 5000)
    data = os.read(reader, 1 << 16)
    assert len(data) <= 4096
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")


def test_a_traceback_is_lines_too(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    Log(writer).traceback(ValueError("broken"))
    assert os.read(reader, 9999) == b"failover: error: ValueError: broken\n"
