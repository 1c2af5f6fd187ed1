"""The page as promtool and a real Prometheus judge it, with names that are meant to break it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from failover.export.metrics import Metrics, Picture
from failover.model import Family, Notice, NoticeKind, Outcome, ProbeKind, ProbeResult, SendProbe, Target, clean
from failover.picture import Snapshot, TargetView, UplinkView
from tests.export.pictures import NOW, snapshot
from tests.prometheus.conftest import Depot, config
from tests.prometheus.peer import Yard, prometheus, promtool
from tests.prometheus.vans import CARRIERS, Van, script

HOSTILE = ('a"b', "a\nfailover_build_info 7", "a\\", "\x1b[31mred", "[red]x", '"; flush ruleset', '\\"}', "\u202eb")
"""As an interface, a carrier or a target may be called; adapters clean what is not printable, nothing else."""


class Hostile(Van):
    """A van whose uplinks are called so."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(Metrics())
        self._names = names
        for name in names:
            probe = SendProbe(1, name, Family.IPV4, name, 1, Target(ProbeKind.ICMP, "1.1.1.1"))
            self.metrics.probed(probe, ProbeResult(1, Outcome.ANSWERED, 0.04, sent_bytes=28, received_bytes=28))
            fields = {"family": "ipv4", "from": name, "to": names[0], "reason": "doubt"}
            self.metrics.noticed(Notice(NoticeKind.SWITCH, name, fields))

    def picture(self) -> Picture:
        view = next(iter(snapshot().uplinks[0].families.values()))
        view = replace(view, targets=tuple(TargetView(f"http://x/{name}", 0.5, 0.03, None) for name in self._names))
        uplinks = tuple(
            UplinkView(name, name, name, 0, False, False, dict.fromkeys(Family, view)) for name in self._names
        )
        return Picture(Snapshot({}, uplinks, None, None, False), NOW, {})


def check(page: bytes) -> str:
    """What promtool finds; nothing, if all is well."""
    done = promtool("check", "metrics", stdin=page)
    return (done.stdout + done.stderr).decode() + (f"exit {done.returncode}" if done.returncode else "")


def test_promtool_finds_nothing() -> None:
    assert check(Van().play(script(2, *CARRIERS)).page()()) == ""
    assert check(Hostile(HOSTILE).page()()) == ""


def test_promtool_finds_what_is_wrong() -> None:
    assert "no help text" in check(b"# TYPE failover_x gauge\nfailover_x 1\n")
    assert check(b'failover_x{a="\n"} 1\n') != ""


def test_a_real_prometheus_takes_hostile_names_for_names(tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text("groups: []\n")
    shown = tuple(map(clean, HOSTILE))
    with Yard() as yard:
        ports = {"raw": yard.open("raw", Hostile(HOSTILE)), "clean": yard.open("clean", Hostile(shown))}
        with prometheus(tmp_path, config(ports)) as server:
            yard.until("clean", lambda: len(server.query("up == 1")) == 2)
            yard.scraped("raw", 2)
            assert [float(found["value"][1]) for found in server.query("failover_build_info")] == [1, 1]
            for van, names in (("raw", HOSTILE), ("clean", shown)):
                for label in ("uplink", "interface", "carrier"):
                    found = server.query(f'failover_uplink_info{{instance="{van}"}}')
                    assert {series["metric"][label] for series in found} == set(names)
                where = f'failover_probe_loss_ratio{{instance="{van}", uplink={json.dumps(names[0])}, family="ipv4"}}'
                found = server.query(where)
                assert {series["metric"]["target"] for series in found} == {f"http://x/{name}" for name in names}


def test_what_is_scraped_is_what_is_told(depot: Depot) -> None:
    """Packed and over HTTP."""
    depot.yard.scraped("calm", 2)
    found = depot.prometheus.query('failover_uplink_active{instance="calm"} == 1')
    assert {(one["metric"]["uplink"], one["metric"]["family"]) for one in found} == {("au", "ipv4"), ("au", "ipv6")}
    (total,) = depot.prometheus.query('sum(failover_uplink_receive_bytes_total{instance="calm"})')
    assert float(total["value"][1]) == 3 * 10**9 + 3
