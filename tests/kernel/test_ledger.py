"""The state file: whole or not at all, for one boot, and honest about what it cannot read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failover.kernel.ledger import Change, Ledger
from failover.model import KernelError

FIRST = Change("net/ipv4/conf/wan0/rp_filter", "1", "2")
SECOND = Change("net/ipv4/conf/wan1/rp_filter", "0", "2")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "state.json")


def test_no_file_is_no_change(ledger: Ledger) -> None:
    assert ledger.changes() == ()


def test_notes_outlive_the_object_and_the_last_of_a_path_counts(ledger: Ledger) -> None:
    again = Change(FIRST.path, "0", "2")
    for change in (FIRST, SECOND, again):
        ledger.note([change])
    assert Ledger(ledger.path).changes() == (again, SECOND)
    assert ledger.path.stat().st_mode & 0o777 == 0o600


def test_notes_of_one_write_join_those_that_were_there(ledger: Ledger) -> None:
    ledger.note([FIRST])
    ledger.note([SECOND, Change(FIRST.path, "0", "2")])
    ledger.note([])
    assert ledger.changes() == (Change(FIRST.path, "0", "2"), SECOND)


def test_with_nothing_to_keep_there_is_no_file(ledger: Ledger) -> None:
    ledger.note([FIRST])
    ledger.keep(())
    ledger.keep(())
    assert list(ledger.path.parent.iterdir()) == []


def test_the_notes_of_another_boot_count_no_more(ledger: Ledger) -> None:
    ledger.note([FIRST])
    tree = json.loads(ledger.path.read_text())
    ledger.path.write_text(json.dumps(tree | {"boot": "another"}))
    assert ledger.changes() == ()
    ledger.note([SECOND])
    assert ledger.changes() == (SECOND,)


def test_a_write_that_failed_leaves_the_old_content(ledger: Ledger, tmp_path: Path) -> None:
    ledger.note([FIRST])
    (tmp_path / "state.json.new").mkdir()
    with pytest.raises(KernelError, match="cannot be used: Is a directory"):
        ledger.note([SECOND])
    assert ledger.changes() == (FIRST,)


def test_a_link_in_the_place_of_the_new_file_is_not_followed(ledger: Ledger, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    os.symlink(victim, tmp_path / "state.json.new")
    with pytest.raises(KernelError, match="cannot be used"):
        ledger.note([FIRST])
    assert victim.read_text() == "mine"


@settings(deadline=None)
@given(
    content=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.dictionaries(st.sampled_from(["version", "boot", "sysctls", "old", "new"]), inner, max_size=4),
    ).map(lambda tree: json.dumps(tree).encode())
)
def test_any_other_content_is_called_corrupt(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("ledger") / "state.json"
    path.write_bytes(content)
    try:
        assert Ledger(path).changes() == ()
    except KernelError as error:
        said = str(error)
    else:
        said = "corrupt"
    assert "corrupt" in said
