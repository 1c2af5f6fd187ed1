"""The memory file: whole or not at all, its age told honestly, and nothing in it believed unseen."""

from __future__ import annotations

import json
import os
import stat
import time
from copy import deepcopy
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failover import files
from failover.export.memory import BYTES_MAX, NAME, Stamp, decode, encode, load
from failover.memory import Allowance, Debt, Memory, ModemPast, Outage
from failover.model import Family, clean

from .disks import NEEDS_ROOT, among_own_mounts, mount_memory
from .happenings import UNIX

NOW = Stamp(UNIX, True, "this-boot", 500.0)
FULL = Memory(
    use="au",
    use_seconds=3600.5,
    use_strict=True,
    drained=("docomo", "depot"),
    debts=(Debt("au", Family.IPV4, 118.2, True, 1.5), Debt("docomo", Family.IPV6, 9.9, False, 0.0)),
    allowances=(Allowance("au", 1_999_944.5),),
    modems=(ModemPast("356938035640011", "wwan0", 2, (30.0, 4000.0), (12.5,), 1.84), ModemPast("/sys/" + "d" * 251)),
    outages=(Outage(("au", "povo"), 4000.5), Outage(("docomo",), 0.0)),
)
NAMES = st.text(min_size=1, max_size=40).filter(lambda text: clean(text) == text)
SECONDS = st.floats(0, 1e8)
TIMES = st.lists(SECONDS, max_size=5).map(tuple)
MEMORIES = st.builds(
    Memory,
    use=st.none() | NAMES,
    use_seconds=st.none() | SECONDS,
    use_strict=st.booleans(),
    drained=st.lists(NAMES, max_size=5).map(tuple),
    debts=st.lists(
        st.builds(Debt, NAMES, st.sampled_from(Family), SECONDS, st.booleans(), st.floats(0, 100)), max_size=5
    ).map(tuple),
    allowances=st.lists(st.builds(Allowance, NAMES, st.floats(0, 1e12)), max_size=5).map(tuple),
    outages=st.lists(st.builds(Outage, st.lists(NAMES, max_size=5).map(tuple), SECONDS), max_size=5).map(tuple),
    modems=st.lists(
        st.builds(ModemPast, NAMES, st.just("") | NAMES, st.integers(0, 8), TIMES, TIMES, SECONDS), max_size=5
    ).map(tuple),
)


def tree() -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(encode(FULL, NOW))
    return decoded


@given(MEMORIES, st.floats(0, 1e6))
def test_it_comes_back_with_its_age(memory: Memory, later: float) -> None:
    back = decode(encode(memory, NOW), replace(NOW, boottime=NOW.boottime + later))
    assert replace(back, age=0.0) == memory
    assert back.age == pytest.approx(later)


@pytest.mark.parametrize(
    ("then", "now", "age"),
    [
        (NOW, replace(NOW, boottime=530.0, unix=UNIX + 9999), 30.0),
        (NOW, replace(NOW, boottime=530.0, unix=UNIX - 9999, trusted=False), 30.0),
        (NOW, replace(NOW, boottime=400.0), 0.0),
        (NOW, Stamp(UNIX + 90, True, "next-boot", 12.0), 90.0),
        (NOW, Stamp(UNIX - 90, True, "next-boot", 12.0), 0.0),
        (NOW, Stamp(UNIX + 90, False, "next-boot", 12.0), 0.0),
        (replace(NOW, trusted=False), Stamp(UNIX + 90, True, "next-boot", 12.0), 0.0),
        (replace(NOW, boot=""), replace(NOW, boot="", unix=UNIX + 90), 90.0),
    ],
)
def test_its_age_is_told_or_unknown(then: Stamp, now: Stamp, age: float) -> None:
    assert decode(encode(FULL, then), now).age == age


def test_a_stamp_is_of_this_boot_and_this_moment() -> None:
    stamp = Stamp.now(UNIX, trusted=True)
    assert stamp.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert 0 <= time.clock_gettime(time.CLOCK_BOOTTIME) - stamp.boottime < 5
    assert (stamp.unix, stamp.trusted) == (UNIX, True)


def test_no_file_is_no_complaint(tmp_path: Path) -> None:
    assert load(tmp_path / NAME, NOW) == (None, "")


def test_cut_anywhere_it_is_a_fresh_start_and_said(tmp_path: Path) -> None:
    path, whole = tmp_path / NAME, encode(FULL, NOW)
    for cut in range(len(whole) - 1):
        path.write_bytes(whole[:cut])
        memory, complaint = load(path, NOW)
        assert memory is None, cut
        assert complaint == f"{path} is not used, and nothing is remembered of earlier: it is corrupt"
    path.write_bytes(whole)
    assert load(path, NOW) == (FULL, "")


@pytest.mark.parametrize("content", [b"\0" * 300, b"\xff" * 300, b"[" * 100_000, b"9" * 5000, b'{"version":' * 9999])
def test_rubbish_is_corrupt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    memory, complaint = load(tmp_path / NAME, NOW)
    assert memory is None
    assert complaint.count("\n") == 0
    assert complaint.endswith("it is corrupt")


def test_a_file_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(encode(FULL, NOW) + b" " * BYTES_MAX)
    assert load(path, NOW)[1].endswith("it is too long")
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert load(path, NOW)[1].endswith("it is too long")


@pytest.mark.parametrize("version", [0, 2, 1.0, True, "1", None, "\x1b[2J" * 99, [], 10**300])
def test_of_an_unknown_version_it_is_a_fresh_start(version: object) -> None:
    with pytest.raises(ValueError, match=r"^its version .{1,20} is not 1$"):
        decode(json.dumps(tree() | {"version": version}).encode(), NOW)


SPANS = [-1, -1e-9, nan, inf, 1e308, 10**400, "5", True, [], {}]
NO_NAMES = [5, True, "", "x" * 129, "a\x1b[2J", "a\nb", "\udc80", [], {}]
HOSTILE: list[tuple[tuple[str | int, ...], list[Any]]] = [
    (("taken",), [None, [], 5, {}]),
    (("taken", "unix"), [None, *SPANS]),
    (("taken", "boottime"), [None, *SPANS]),
    (("taken", "trusted"), [None, 1, "true", []]),
    (("taken", "boot"), [None, 5, "x" * 129, []]),
    (("memory",), [None, [], 5, "x", {}]),
    (("memory", "use"), NO_NAMES),
    (("memory", "use_seconds"), SPANS),
    (("memory", "use_strict"), [None, 0, "no"]),
    (("memory", "drained"), [None, 5, "au", {}, ["a"] * 1025, *([name] for name in NO_NAMES), [None]]),
    (("memory", "debts"), [None, {}, "x", [5], [None], [[]]]),
    (("memory", "debts", 0, "uplink"), [None, *NO_NAMES]),
    (("memory", "debts", 0, "family"), [None, "ipv5", [], {}, 4]),
    (("memory", "debts", 0, "owed"), [None, *SPANS]),
    (("memory", "debts", 0, "convicted"), [None, 0, "no"]),
    (("memory", "debts", 0, "relapses"), [None, *SPANS]),
    (("memory", "allowances"), [None, {}, "x", [5], [None], [[]], [{}] * 1025]),
    (("memory", "allowances", 0, "uplink"), [None, *NO_NAMES]),
    (("memory", "allowances", 0, "left"), [None, *SPANS]),
    (("memory", "modems"), [None, {}, "x", [5], [None], [[]], [{}] * 1025]),
    (("memory", "modems", 0, "modem"), [None, 5, True, "", "x" * 257, "a\x1b[2J", "a\nb", "\udc80", [], {}]),
    (("memory", "modems", 0, "interface"), [None, *(name for name in NO_NAMES if name != "")]),
    (("memory", "modems", 0, "slot"), [None, 9, *SPANS]),
    (("memory", "modems", 0, "resets"), [None, {}, 5, "x", [0.0] * 1025, *([span] for span in SPANS)]),
    (("memory", "modems", 0, "switches"), [None, {}, 5, "x", [None], *([span] for span in SPANS)]),
    (("memory", "modems", 0, "switch_seconds"), SPANS),
    (("memory", "outages"), [None, {}, "x", [5], [None], [[]], [{}] * 1025]),
    (("memory", "outages", 0, "uplinks"), [None, 5, "au", {}, [None], ["a"] * 1025, *([name] for name in NO_NAMES)]),
    (("memory", "outages", 0, "ago"), [None, *SPANS]),
]

LATER = [("memory", "allowances"), ("memory", "modems"), ("memory", "outages")]
"""What older agents did not write."""


@pytest.mark.parametrize(
    ("where", "value"),
    [(where, value) for where, values in HOSTILE for value in values],
    ids=lambda value: repr(value)[:40],
)
def test_no_value_is_believed_unseen(tmp_path: Path, where: tuple[str | int, ...], value: object) -> None:
    document: Any = tree()
    place = document
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = value
    (tmp_path / NAME).write_text(json.dumps(document))
    memory, complaint = load(tmp_path / NAME, NOW)
    assert memory is None
    assert complaint.startswith(f"{tmp_path / NAME} is not used")
    assert complaint.isprintable()


def test_a_file_of_an_agent_that_kept_no_budgets_or_outages_and_knew_no_modems_is_read() -> None:
    document = tree()
    for key in ("allowances", "modems", "outages"):
        del document["memory"][key]
    assert decode(json.dumps(document).encode(), NOW) == replace(FULL, allowances=(), modems=(), outages=())


@pytest.mark.parametrize("where", [where for where, _ in HOSTILE if where not in LATER])
def test_nothing_may_be_missing(where: tuple[str | int, ...]) -> None:
    document: Any = deepcopy(tree())
    place = document
    for step in where[:-1]:
        place = place[step]
    del place[where[-1]]
    with pytest.raises(ValueError, match="corrupt"):
        decode(json.dumps(document).encode(), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
)


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries({"version": st.just(1), "taken": JSON, "memory": JSON}) | JSON)
def test_noise_is_a_value_error(noise: object) -> None:
    with pytest.raises(ValueError):
        decode(json.dumps(noise).encode(), NOW)


# --- the file --------------------------------------------------------------------------------------------------------


def test_it_is_replaced_whole_and_open_to_the_group_for_reading(tmp_path: Path) -> None:
    path = tmp_path / NAME
    for memory in (FULL, Memory()):
        files.replace(path, encode(memory, NOW))
        assert load(path, NOW) == (memory, "")
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFREG])
def test_what_stands_in_the_place_of_the_new_one_gives_way(tmp_path: Path, kind: int) -> None:
    path, victim = tmp_path / NAME, tmp_path / "victim"
    fresh = path.with_name(NAME + ".new")
    if kind == stat.S_IFLNK:
        fresh.symlink_to(victim)
    else:
        os.mknod(fresh, kind | 0o600)
    files.replace(path, encode(FULL, NOW))
    assert load(path, NOW) == (FULL, "")
    assert not victim.exists()


@pytest.mark.parametrize("kind", [stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK])
def test_what_is_no_file_is_a_fresh_start_and_said(tmp_path: Path, kind: int) -> None:
    path = tmp_path / NAME
    if kind == stat.S_IFDIR:
        path.mkdir()
    elif kind == stat.S_IFLNK:
        path.symlink_to("/dev/zero")
    else:
        os.mknod(path, kind | 0o600)
    memory, complaint = load(path, NOW)
    assert memory is None
    assert complaint.startswith(f"{path} is not used")


@NEEDS_ROOT
def test_on_a_full_disk_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / NAME

    def body() -> None:
        mount_memory(tmp_path, 16 << 10)
        files.replace(path, encode(FULL, NOW))
        (tmp_path / "ballast").write_bytes(b"x" * (8 << 10))
        with pytest.raises(OSError, match="No space left"):
            files.replace(path, b"x" * 9000)
        assert load(path, NOW) == (FULL, "")
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ballast", NAME]

    among_own_mounts(body)
    assert not path.exists()
