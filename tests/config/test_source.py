"""Where a running agent's config may come from."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from failover.config import ConfigError
from failover.config.reading import load_with_warnings
from failover.config.source import ConfigFile
from failover.config.yaml_tree import BYTES_MAX

CONFIG = "uplinks: [{name: au, interface: wwan0}]\n"
OTHERS: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/null"),
    "endless": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", OTHERS)
def test_only_a_regular_file_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "failover.yaml"
    OTHERS[kind](path)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigError) as caught:
        ConfigFile(path).load()
    mend = "put a regular file there; `failover check` reads pipes too"
    assert str(caught.value) == f"{path}: is no regular file; {mend}"
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_socket_is_not_read_either(tmp_path: Path) -> None:
    path = tmp_path / "failover.yaml"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        with pytest.raises(ConfigError, match="cannot be read: No such device or address"):
            ConfigFile(path).load()


def test_a_file_that_has_nothing_to_give_now_is_not_waited_for() -> None:
    reading, writing = os.pipe2(os.O_NONBLOCK)
    try:
        with pytest.raises(ConfigError, match="kmsg: cannot be read: Resource temporarily unavailable"):
            load_with_warnings("kmsg", lambda *_: reading)
    finally:
        os.close(writing)


def test_a_link_to_a_regular_file_is(tmp_path: Path) -> None:
    (tmp_path / "there").write_text(CONFIG)
    (tmp_path / "failover.yaml").symlink_to("there")
    assert [uplink.name for uplink in ConfigFile(tmp_path / "failover.yaml").load()[0].uplinks] == ["au"]


def test_no_more_than_a_mebibyte(tmp_path: Path) -> None:
    path = tmp_path / "failover.yaml"
    path.write_bytes(b"#" * (BYTES_MAX + 1))
    with pytest.raises(ConfigError, match=f"too large; at most {BYTES_MAX} bytes are read"):
        ConfigFile(path).load()


def test_who_only_checks_may_read_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, CONFIG.encode())
    os.close(writing)
    try:
        assert [uplink.name for uplink in load_with_warnings(f"/dev/fd/{reading}")[0].uplinks] == ["au"]
    finally:
        os.close(reading)


def test_apart_it_comes_to_the_same(tmp_path: Path) -> None:
    path = tmp_path / "failover.yaml"
    path.write_text(CONFIG)
    source = ConfigFile(path)
    assert source.load_apart().result(10) == source.load()
    path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        source.load_apart().result(10)


HIDDEN = """
import os, sys
from failover.config import ConfigError, source
source.CONFIG_PATH = sys.argv[1]
os.setuid(54321)
try:
    print(source.ConfigFile(None).load())
except ConfigError as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_one_that_may_not_be_looked_at_is_not_missing(tmp_path: Path) -> None:
    path = tmp_path / "failover.yaml"
    path.write_text(CONFIG)
    tmp_path.chmod(0o700)
    done = subprocess.run([sys.executable, "-c", HIDDEN, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path}: cannot be read: Permission denied; name a file that this user may read\n"


def kept(path: Path, text: str) -> Path:
    """What an agent that had this text in force leaves behind."""
    path.write_text(text)
    source = ConfigFile(path)
    source.load()
    place = path.with_name("kept")
    place.write_bytes(source.keepsake())
    return place


def test_a_refused_file_gives_way_to_what_was_last_in_force(tmp_path: Path) -> None:
    path = tmp_path / "failover.yaml"
    place = kept(path, CONFIG)
    path.write_text("uplinks: [{nme: au}]\n")
    begun = ConfigFile(path).begin(place)
    assert [uplink.name for uplink in begun.config.uplinks] == ["au"]
    assert begun.problems
    assert all(problem.source == str(path) for problem in begun.problems)
    path.write_text("metrics: {listen: none}\n")
    assert ConfigFile(path).begin(place).config.uplinks == ()


def test_a_refused_file_that_gave_way_may_not_vanish_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "failover.yaml"
    place = kept(path, CONFIG)
    monkeypatch.setattr("failover.config.source.CONFIG_PATH", str(path))
    path.write_text("uplinks: 7\n")
    source = ConfigFile(None)
    source.begin(place)
    path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        source.load()
    assert source.keepsake() == place.read_bytes()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda place: place.unlink(),
        lambda place: place.write_bytes(place.read_bytes()[:-10]),
        lambda place: place.write_bytes(b"[" * 100_000),
        lambda place: place.write_bytes(b'{"path": 1}'),
        lambda place: place.write_bytes(place.read_bytes().replace(b"interface", b"interfaze")),
        lambda place: place.write_bytes(place.read_bytes().replace(b"failover.yaml", b"another.yaml")),
        lambda place: place.rename(place.with_name("elsewhere")) and place.mkdir(),
    ],
    ids=["gone", "torn", "deep", "odd", "bad itself", "of another file", "folder"],
)
def test_without_it_the_file_is_refused(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    path = tmp_path / "failover.yaml"
    place = kept(path, CONFIG)
    path.write_text("uplinks: 7\n")
    spoil(place)
    with pytest.raises(ConfigError, match="uplinks: "):
        ConfigFile(path).begin(place)


def test_what_was_last_in_force_is_what_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "failover.yaml"
    path.write_text(CONFIG)
    source = ConfigFile(path)
    source.load()
    before = source.keepsake()
    path.write_text("uplinks: 7\n")
    with pytest.raises(ConfigError):
        source.load()
    assert source.keepsake() == before
