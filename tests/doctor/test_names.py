"""The check of the box's resolver: what the agent says of it, or what one would find."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from failover.config import Config, Names
from failover.doctor import names, user
from failover.doctor.case import Case
from failover.doctor.finding import Level, Remark
from failover.model import ControlError
from failover.resolvers import Way

SILENT = ControlError("no agent here", "start it")


def case(way: Way = Way.AUTO, told: dict[str, Any] | None = None) -> Case:
    status = None if told is None else {"agent": {}, "names": {"text": "", "mend": "", "trouble": [], **told}}
    config = Config(dns=Names(way))
    made = Case(Path("/run/failover/control.sock"), Path("/var/lib/failover"), config, "", (), (), False, status, None)
    return made if status else replace(made, silence=SILENT)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("etc/polkit-1/rules.d", "usr/share/polkit-1/rules.d"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/resolv.conf").write_text("nameserver 127.0.0.53\n")
    return tmp_path


def only(subject: Case, root: Path = Path("/")) -> Remark:
    (remark,) = names.resolver(subject, root)
    return remark


def test_what_the_agent_that_runs_found_is_told() -> None:
    assert only(case(told={"way": "resolved"})) == Remark(Level.OK, "systemd-resolved is told whom to ask")
    assert only(case(told={"way": "none"})).text == "name servers are left as they are, as the config says"
    found = only(case(told={"way": "none", "text": "names do not follow: so it is", "mend": "do this"}))
    assert found == Remark(Level.NOTE, "names do not follow: so it is", "do this")


def test_what_keeps_it_from_that_is_a_warning_with_its_mend() -> None:
    found = only(case(told={"way": "resolved", "trouble": ["names may not follow: refused; install polkit"]}))
    assert found == Remark(Level.WARNING, "names may not follow: refused", "install polkit")


def test_without_an_agent_a_missing_polkit_rule_is_foreseen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = user.User("failover", 905, frozenset((905,)), may_all=False)
    monkeypatch.setattr(user, "of_agent", lambda _: ordinary)
    found = only(case(), root)
    assert (found.level, found.text) == (
        Level.WARNING,
        "no polkit rule lets user failover tell systemd-resolved whom to ask",
    )
    shipped = Path(__file__).parents[2] / "systemd/failover.rules"
    (root / "etc/polkit-1/rules.d/50-failover.rules").write_text(shipped.read_text())
    assert only(case(), root).level is Level.OK
    (root / "etc/polkit-1/rules.d/50-failover.rules").unlink()
    monkeypatch.setattr(user, "of_agent", lambda _: replace(ordinary, name="root", uid=0, may_all=True))
    assert only(case(), root).level is Level.OK


def test_without_an_agent_it_says_why_there_is_no_way(root: Path) -> None:
    (root / "etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
    found = only(case(), root)
    assert (found.level, bool(found.mend)) == (Level.NOTE, True)
    assert found.text.endswith("/etc/resolv.conf is somebody else's")
    assert only(case(Way.NONE), root).level is Level.OK


def test_what_keeps_a_file_from_being_read_or_written_is_a_note(root: Path) -> None:
    (root / "etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
    found = only(case(Way.FILE), root)
    assert (found.level, "does not lead to" in found.text) == (Level.NOTE, True)
    (root / "etc/resolv.conf").unlink()
    (root / "etc/resolv.conf").symlink_to("/run/failover/resolv.conf")
    made = replace(case(Way.NONE), socket=root / "run/failover/control.sock")
    assert "nobody writes any more" in only(made, root).text


def test_what_the_operator_asks_for_and_is_not_there_is_a_warning(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failover.names.resolvconf.find", lambda: None)
    found = only(case(Way.RESOLVCONF), root)
    assert (found.level, "openresolv is not installed" in found.text) == (Level.WARNING, True)
