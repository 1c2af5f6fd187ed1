"""The metrics as a scraper sees them: names, labels, values; and how many there are, whatever comes and goes."""

from __future__ import annotations

import math
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from failover import __version__
from failover.export.exposition import Exposition
from failover.export.metrics import NAMES_MAX, OTHER, WAYS_MAX, Metrics, Picture, Traffic, traffic
from failover.facts import Operation, OperationResult, Route, Verb
from failover.lab.namespaces import Namespace, gain_privileges
from failover.model import (
    Family,
    Notice,
    NoticeKind,
    Outcome,
    ProbeKind,
    ProbeResult,
    SendProbe,
    Target,
    Verdict,
    clean,
)
from failover.picture import Snapshot, TargetView, UplinkView
from tests.allowed import or_skip
from tests.export.pages import Samples, at, read
from tests.export.pictures import FLAPPED, NOW, family, mobile, snapshot

README = Path(__file__).resolve().parents[2] / "failover" / "export" / "README.md"


def picture() -> Picture:
    return Picture(mobile(), NOW, {"wwan-au": Traffic(11, 22), "eth0": Traffic(33, 44)})


def probe(uplink: str = "au") -> SendProbe:
    return SendProbe(1, uplink, Family.IPV4, "wwan0", 1, Target(ProbeKind.ICMP, "1.1.1.1", url="icmp://1.1.1.1"))


def switch(before: str | None, after: str | None, reason: str) -> Notice:
    return Notice(NoticeKind.SWITCH, "x", {"family": "ipv4", "from": before, "to": after, "reason": reason})


def verdict(uplink: str, word: str) -> Notice:
    return Notice(NoticeKind.VERDICT, "x", {"uplink": uplink, "family": "ipv4", "verdict": word})


def present(*names: str, targets: tuple[TargetView, ...] = ()) -> Picture:
    """These uplinks are there."""
    view = replace(family(Verdict.UP), targets=targets)
    uplinks = tuple(UplinkView(name, name, name, 0, False, False, dict.fromkeys(Family, view)) for name in names)
    return Picture(Snapshot({}, uplinks, None, None, False), NOW, {})


# --- what they tell --------------------------------------------------------------------------------------------------


def test_gauges_tell_the_snapshot() -> None:
    samples = read(Metrics().render(picture()))
    assert at(samples, "uplink_verdict", uplink="au", family="ipv4", verdict="doubtful") == 1
    assert at(samples, "uplink_verdict", uplink="au", family="ipv4", verdict="up") == 0
    assert sum(v for (name, _), v in samples.items() if name == "failover_uplink_verdict") == 4
    assert at(samples, "uplink_active", uplink="docomo", family="ipv4") == 1
    assert at(samples, "uplink_active", uplink="au", family="ipv4") == 0
    assert at(samples, "uplink_active", uplink="docomo", family="ipv6") == 0
    assert at(samples, "uplink_info", uplink="au", interface="wwan-au", carrier="KDDI") == 1
    assert at(samples, "uplink_preference", uplink="au") == 0
    assert at(samples, "uplink_preference", uplink="docomo") == 1
    assert at(samples, "uplink_last_proven_seconds", uplink="au", family="ipv4") == 0.5
    assert at(samples, "probe_loss_ratio", uplink="au", family="ipv4", target="icmp://1.1.1.1") == 0.25
    assert at(samples, "uplink_receive_bytes_total", uplink="au") == 11
    assert at(samples, "uplink_transmit_bytes_total", uplink="au") == 22
    assert at(samples, "budget_remaining_bytes", uplink="au") == 1999944.6
    assert at(samples, "budget_capacity_bytes", uplink="au") == 2e6
    assert not [labels for name, labels in samples if "_budget_" in name and ("uplink", "docomo") in labels]
    assert at(samples, "build_info", version=__version__) == 1


def test_flapping_and_silences_told_apart() -> None:
    view = replace(family(Verdict.UP), penalty=FLAPPED, silences_buffered=5, silences_lost=3)
    shown = replace(snapshot(), uplinks=(replace(snapshot().uplinks[0], families={Family.IPV6: view}),))
    for later, penalty in ((0, 1.0), (900, 0.5)):
        samples = read(Metrics().render(Picture(shown, NOW + later, {})))
        assert at(samples, "uplink_flap_penalty", uplink="au", family="ipv6") == penalty
    assert at(samples, "silences_total", uplink="au", family="ipv6", kind="buffered") == 5
    assert at(samples, "silences_total", uplink="au", family="ipv6", kind="lost") == 3


@pytest.mark.parametrize("counted", [True, False])
def test_whether_flows_are_counted(counted: bool) -> None:
    shown = Picture(replace(snapshot(), flows_counted=counted), NOW, {})
    assert at(read(Metrics().render(shown)), "flows_counted") == counted


def test_the_journal() -> None:
    well, ill = picture(), Picture(snapshot(), NOW, {}, journal_ok=False, journal_dropped=7)
    for shown, ok, dropped in ((well, 1, 0), (ill, 0, 7)):
        samples = read(Metrics().render(shown))
        assert at(samples, "journal_ok") == ok
        assert at(samples, "journal_dropped_total") == dropped


def test_counters_count() -> None:
    metrics = Metrics()
    metrics.probed(probe(), ProbeResult(1, Outcome.ANSWERED, 0.04, sent_bytes=28, received_bytes=28))
    metrics.probed(probe(), ProbeResult(2, Outcome.SILENT, None, sent_bytes=28))
    for notice in (
        switch("au", "docomo", "doubt"),
        switch("docomo", "docomo", "conviction"),
        switch(None, "au", "first"),
        Notice(NoticeKind.READY, "ready"),
        verdict("au", "doubtful"),
        verdict("au", "down"),
    ):
        metrics.noticed(notice)
    metrics.switch_applied(0.0004)
    operation = Operation(Verb.REPLACE, Route(Family.IPV4, 15500, 1))
    metrics.operated((OperationResult(operation), OperationResult(operation, "no such device")))
    metrics.reloaded(ok=False)
    metrics.turned(0.01)
    metrics.turned(-3.0)
    samples = read(metrics.render(picture()))
    assert at(samples, "probe_bytes_total", uplink="au") == 84
    assert at(samples, "probe_rtt_seconds_count", uplink="au", family="ipv4") == 1
    assert at(samples, "probe_rtt_seconds_bucket", uplink="au", family="ipv4", le="0.03") == 0
    assert at(samples, "probe_rtt_seconds_bucket", uplink="au", family="ipv4", le="0.05") == 1
    assert at(samples, "switches_total", family="ipv4", **{"from": "au"}, to="docomo", reason="doubt") == 1
    assert at(samples, "switches_total", family="ipv4", **{"from": ""}, to="au", reason="first") == 1
    assert sum(value for (name, _), value in samples.items() if name == "failover_switches_total") == 2
    assert at(samples, "uplink_convictions_total", uplink="au", family="ipv4") == 1
    assert at(samples, "switch_apply_seconds_bucket", le="0.0006") == 1
    assert at(samples, "reconcile_operations_total", operation="replace", result="ok") == 1
    assert at(samples, "reconcile_operations_total", operation="replace", result="error") == 1
    assert at(samples, "config_reload_ok") == 0
    assert at(samples, "loop_late_seconds_count") == 2
    assert at(samples, "loop_late_seconds_sum") == 0.01
    assert not [name for name, _ in samples if name.endswith("_created")]


def test_flows_that_were_moved() -> None:
    """This box's own by protocol, a gateway's all together."""
    metrics = Metrics()
    lane = {"uplink": "au", "family": "ipv4", "unanswered": False}
    metrics.noticed(Notice(NoticeKind.FLOWS, "x", {**lane, "tcp": 3, "udp": 2}))
    metrics.noticed(Notice(NoticeKind.FLOWS, "x", {**lane, "forwarded": 7}))
    samples = read(metrics.render(picture()))
    broken = [at(samples, "flows_broken_total", uplink="au", family="ipv4", protocol=p) for p in ("tcp", "udp")]
    assert broken == [3, 2]
    assert at(samples, "flows_forgotten_total", uplink="au", family="ipv4") == 7
    assert at(samples, "flows_forgotten_total", uplink="docomo", family="ipv6") == 0


def test_what_an_alert_takes_the_rate_of_begins_at_zero() -> None:
    samples = read(Metrics().render(picture()))
    for one in Family:
        assert at(samples, "uplink_convictions_total", uplink="docomo", family=one.value) == 0
        for kind in ("buffered", "lost"):
            assert at(samples, "silences_total", uplink="docomo", family=one.value, kind=kind) == 0
    for verb in Verb:
        assert at(samples, "reconcile_operations_total", operation=verb.value, result="error") == 0


def test_the_process() -> None:
    samples = read(Metrics().render(picture()))
    assert samples["process_open_fds", ()] >= 3
    assert samples["process_resident_memory_bytes", ()] > 10e6
    assert samples["process_cpu_seconds_total", ()] >= 0
    started = samples["process_start_time_seconds", ()]
    assert started == read(Metrics().render(picture()))["process_start_time_seconds", ()] > 1.6e9


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Of each metric in the table of the room's README: its type and its labels."""
    found = {}
    for names, about in re.findall(r"^\| (`(?:failover|process)_.*?) \| (.*) \|$", README.read_text(), re.MULTILINE):
        kind = re.match("gauge|counter|histogram", about)
        labels = re.search(r": `([^`]+)`", about)
        assert kind, about
        for name in re.findall(r"`(\w+)`", names):
            found[name] = (kind[0], tuple(labels[1].split()) if labels else ())
    return found


def test_types_and_labels_are_those_of_the_readme() -> None:
    metrics = Metrics()
    live(metrics, "au", "docomo")
    page = metrics.render(picture())
    found = {}
    for metric in text_string_to_metric_families(page.decode()):
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        found[name] = (metric.type, {label for sample in metric.samples for label in sample.labels} - {"le"})
    assert found == {name: (kind, set(labels)) for name, (kind, labels) in documented().items()}


# --- how many there are ----------------------------------------------------------------------------------------------


def live(metrics: Metrics, name: str, before: str) -> None:
    """One uplink has come in place of another, is probed and fails."""
    metrics.probed(probe(name), ProbeResult(1, Outcome.ANSWERED, 0.04, sent_bytes=28, received_bytes=28))
    metrics.noticed(switch(before, name, "link-down"))
    metrics.noticed(verdict(name, "down"))


def named(samples: Samples) -> set[str]:
    ends = ("uplink", "from", "to")
    return {value for _, labels in samples for label, value in labels if label in ends} - {""}


def test_an_uplink_that_is_gone_is_forgotten() -> None:
    metrics = Metrics()
    live(metrics, "au", "docomo")
    live(metrics, "docomo", "au")
    assert named(read(metrics.render(present("au", "docomo")))) == {"au", "docomo"}
    samples = read(metrics.render(present("docomo")))
    assert named(samples) == {"docomo"}
    assert at(samples, "probe_bytes_total", uplink="docomo") == 56
    live(metrics, "au", "docomo")
    assert at(read(metrics.render(present("au", "docomo"))), "probe_bytes_total", uplink="au") == 56


@pytest.mark.parametrize("pause", [4, 60, 1440], ids=["often", "each hour", "once"])
def test_a_day_of_interfaces_that_come_and_go_under_new_names(pause: int) -> None:
    """One a minute, each there for four; scraped so often."""
    metrics, names, sizes = Metrics(), ["ppp0"], list[int]()
    for minute in range(1, 1441):
        names.append(f"ppp{minute}")
        live(metrics, names[-1], names[-2])
        if minute % pause == 0:
            page = metrics.render(present(*names[-4:]))
            sizes.append(page.count(b"\n"))
            assert b'uplink="other"' not in page or pause > 60
    assert len(set(sizes[4:])) <= 1, "no growth"
    assert named(read(page)) <= {*names[-4:], OTHER}


def test_unscraped_it_is_bounded_too() -> None:
    metrics = Metrics()
    for count in range(5000):
        live(metrics, f"ppp{count}", f"ppp{max(0, count - 1)}")
    samples = read(metrics.render(present(*(f"ppp{count}" for count in range(NAMES_MAX)))))
    assert len({labels for name, labels in samples if name == "failover_probe_bytes_total"}) == NAMES_MAX + 1
    assert at(samples, "probe_bytes_total", uplink=OTHER) == (5000 - NAMES_MAX) * 56
    assert sum(1 for name, _ in samples if name == "failover_switches_total") <= WAYS_MAX + 1


def test_every_way_between_many_uplinks() -> None:
    metrics, names = Metrics(), [f"ppp{count}" for count in range(40)]
    for before, after in permutations(names, 2):
        metrics.noticed(switch(before, after, "degraded"))
    samples = read(metrics.render(present(*names)))
    counts = [value for (name, _), value in samples.items() if name == "failover_switches_total"]
    assert len(counts) == WAYS_MAX + 1
    assert sum(counts) == 40 * 39
    rest = {"family": "ipv4", "from": OTHER, "to": OTHER, "reason": "degraded"}
    assert at(samples, "switches_total", **rest) == 40 * 39 - WAYS_MAX


def test_targets_changed_by_reloads_leave_nothing_behind() -> None:
    metrics = Metrics()
    sizes = set()
    for reload in range(50):
        views = tuple(TargetView(f"icmp://10.{reload}.0.{n}", 0.0, 0.03, Outcome.ANSWERED) for n in range(8))
        uplink = UplinkView(
            "au", "wwan0", "", 0, False, False, {Family.IPV4: replace(family(Verdict.UP), targets=views)}
        )
        shown = Snapshot({}, (uplink,), None, None, False)
        samples = read(metrics.render(Picture(shown, NOW, {})))
        targets = {dict(labels)["target"] for name, labels in samples if name == "failover_probe_loss_ratio"}
        assert targets == {view.url for view in views}
        sizes.add(len(samples))
    assert len(sizes) == 1


# --- the text --------------------------------------------------------------------------------------------------------

HOSTILE = (
    'a"b',
    "a\nfailover_build_info 7",
    "a\\",
    "\x1b[31mred",
    "[red]x[/]",
    '"; flush ruleset',
    '"} 1\n# TYPE x counter',
    '\\n\\"',
    "{a='b'}",
    "\u202e\u2028",
)


def test_hostile_names_stay_labels() -> None:
    """As they are, and as the adapters clean them."""
    metrics = Metrics()
    raw, shown = list(HOSTILE), list(dict.fromkeys(map(clean, HOSTILE)))
    for names in (raw, shown):
        views = tuple(TargetView(f"http://x/{name}", 0.5, 0.03, Outcome.ANSWERED) for name in names)
        for before, name in zip([names[-1], *names], names, strict=False):
            live(metrics, name, before)
        samples = read(metrics.render(present(*names, targets=views)))
        for name in names:
            assert at(samples, "uplink_info", uplink=name, interface=name, carrier=name) == 1
            assert at(samples, "probe_bytes_total", uplink=name) >= 56
            assert at(samples, "probe_loss_ratio", uplink=name, family="ipv4", target=f"http://x/{name}") == 0.5
        assert named(samples) == set(names)
        assert at(samples, "build_info", version=__version__) == 1


NUMBERS = st.one_of(st.floats(), st.integers(-(2**60), 2**60), st.booleans())
LABELS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SERIES = st.dictionaries(st.tuples(LABELS, LABELS), NUMBERS, max_size=5)


class Families:
    """Three kinds of metrics over the same labels; a collector."""

    def __init__(self, series: dict[tuple[str, str], float]) -> None:
        self._series = series

    def collect(self) -> Iterator[Metric]:
        gauge = GaugeMetricFamily("x_gauge", 'some \\ "help"\nof two lines', labels=("b", "a"))
        counter = CounterMetricFamily("x_counter", "", labels=("b", "a"))
        histogram = HistogramMetricFamily("x_seconds", "h", labels=("b", "a"))
        for labels, value in self._series.items():
            gauge.add_metric(labels, value)
            counter.add_metric(labels, value)
            histogram.add_metric(labels, [("0.5", value), ("+Inf", 2.0)], value)
        yield from (gauge, counter, histogram)


@given(st.lists(SERIES, min_size=1, max_size=4))
def test_the_text_is_the_librarys_own(pages: list[dict[tuple[str, str], float]]) -> None:
    exposition = Exposition()
    for series in pages:
        registry = CollectorRegistry()
        registry.register(Families(series))
        for _ in range(2):
            assert exposition.render(Families(series).collect()) == generate_latest(registry)


def test_numbers_as_go_writes_them() -> None:
    gauge = GaugeMetricFamily("x", "help")
    for value in (math.inf, math.nan, 0.1, 1e22):
        gauge.add_metric((), value)
    values = re.findall(rb"^x (\S+)$", Exposition().render([gauge]), re.MULTILINE)
    assert values == [b"+Inf", b"NaN", b"0.1", b"1e+22"]


# --- bytes of interfaces ---------------------------------------------------------------------------------------------


def test_traffic_of_this_machine() -> None:
    before = traffic()["lo"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(bytes(100), ("127.0.0.1", 9))
    after = traffic()["lo"]
    assert after.sent - before.sent >= 128
    assert after.received - before.received >= 128


def test_traffic_by_the_name_that_the_kernel_adapter_gives_it() -> None:
    raw = b'a"\\\x1b[red]\xff;'
    with or_skip():
        gain_privileges()
        with Namespace("apart") as apart, apart.entered():
            subprocess.run(["ip", "link", "add", "name", os.fsdecode(raw), "type", "bridge"], check=True)
            found = traffic()
    assert clean(raw.decode("utf-8", "replace")) in found


def test_messages_by_what_they_are_about() -> None:
    metrics = Metrics()
    metrics.render(picture())
    metrics.received("au", ("suspension", "payment"))
    metrics.received("au", ("payment",))
    metrics.received("au", ())
    metrics.received("", ())
    metrics.received("", ("cap",))
    metrics.noticed(Notice(NoticeKind.MODEM, "modem …0011: a message", {"uplink": "", "matters": "cap"}))
    samples = read(metrics.render(picture()))
    assert at(samples, "sms_received_total", uplink="au", matter="suspension") == 1
    assert at(samples, "sms_received_total", uplink="au", matter="payment") == 2
    assert at(samples, "sms_received_total", uplink="au", matter="other") == 1
    assert at(samples, "sms_received_total", uplink="", matter="other") == 1
    assert at(samples, "sms_received_total", uplink="", matter="cap") == 1
    assert at(samples, "sms_received_total", uplink="au", matter="cap") == 0
    assert not [labels for name, labels in samples if "_sms_" in name and ("uplink", "docomo") in labels]
