"""The page as promtool and a real Prometheus judge it, with names that are meant to break it."""

from __future__ import annotations

import json

import pytest

from failover.model import clean
from tests.prometheus.conftest import Depot
from tests.prometheus.peer import promtool
from tests.prometheus.vans import CARRIERS, HOSTILE, Hostile, Van, script


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


@pytest.mark.parametrize(("van", "names"), [("raw", HOSTILE), ("clean", tuple(map(clean, HOSTILE)))])
def test_a_real_prometheus_takes_hostile_names_for_names(depot: Depot, van: str, names: tuple[str, ...]) -> None:
    depot.yard.until(van, lambda: depot.prometheus.query(f'failover_build_info{{instance="{van}"}} == 1'))
    found = depot.prometheus.query(f'failover_uplink_info{{instance="{van}"}}')
    for label in ("uplink", "interface", "carrier"):
        assert {series["metric"][label] for series in found} == set(names)
    where = f'failover_probe_loss_ratio{{instance="{van}", uplink={json.dumps(names[0])}, family="ipv4"}}'
    found = depot.prometheus.query(where)
    assert {series["metric"]["target"] for series in found} == {f"http://x/{name}" for name in names}


def test_what_is_scraped_is_what_is_told(depot: Depot) -> None:
    """Packed and over HTTP."""
    depot.yard.until("calm", lambda: depot.prometheus.query('failover_build_info{instance="calm"}'))
    found = depot.prometheus.query('failover_uplink_active{instance="calm"} == 1')
    assert {(one["metric"]["uplink"], one["metric"]["family"]) for one in found} == {("au", "ipv4"), ("au", "ipv6")}
    (total,) = depot.prometheus.query('sum(failover_uplink_receive_bytes_total{instance="calm"})')
    assert float(total["value"][1]) == 3 * 10**9 + 3
