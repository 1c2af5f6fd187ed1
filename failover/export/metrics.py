"""What Prometheus reads: counters kept as things happen, gauges drawn from a snapshot at each scrape.

Metric names and labels are a contract (DESIGN); `process_*` are the standard ones of every Prometheus client. What is
labelled by uplink lives as long as the uplink, so that a page is as long as the uplinks are many. Nothing here is
global: the registry is the object's own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from failover import __version__
from failover.config.modems import Matter
from failover.export import modem_metrics
from failover.export.exposition import Exposition
from failover.facts import OperationResult, Verb
from failover.model import FAMILIES, Family, Notice, NoticeKind, ProbeResult, SendProbe, Verdict, clean
from failover.picture import Snapshot, UplinkView

RTT_BUCKETS: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
"""Seconds. Dense where radio links live, up to the latest replies seen on real drives (10 s)."""
APPLY_BUCKETS: Final = (0.0001, 0.0002, 0.0003, 0.0004, 0.0006, 0.0008, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5)
"""Seconds, around the promise of 1 ms."""
LATE_BUCKETS: Final = (0.001, 0.005, 0.02, 0.05, 0.2, 1.0, 5.0)
"""Seconds, around the 0.02 that no client may hold the loop up for."""
NAMES_MAX: Final = 128
"""Uplink names that get series of their own between two scrapes: twice what there can be at a time (SLOTS_MAX)."""
WAYS_MAX: Final = 512
"""Kinds of switches (family, from, to, reason) that get series of their own."""
FATES_MAX: Final = 512
"""Series of what uplinks share: all there can be among sixteen on one hub and network; of more, the first."""
PROTOCOLS: Final = ("tcp", "udp")
OTHER: Final = modem_metrics.OTHER
"""In place of an uplink's name beyond those, and of what a message is about when we know nothing of that."""
MATTERS: Final = (*Matter, OTHER)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of one interface since it was made."""

    received: int
    sent: int


def traffic() -> dict[str, Traffic]:
    """Of every interface in our network namespace, by its name as the rest of the agent shows it."""
    counters = psutil.net_io_counters(pernic=True, nowrap=False)
    return {_shown(name): Traffic(io.bytes_recv, io.bytes_sent) for name, io in counters.items()}


def _shown(interface: str) -> str:
    """psutil leaves bytes that are not UTF-8 as surrogates, which no page can hold."""
    return clean(os.fsencode(interface).decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class Picture:
    """The gauges of one moment; a prometheus collector."""

    snapshot: Snapshot
    now: float
    traffic: Mapping[str, Traffic]
    journal_ok: bool = True
    """Whether the last write of the journal went through."""
    journal_dropped: int = 0
    """Entries that no write got through, since the start."""

    def collect(self) -> Iterator[Metric]:
        """All gauges, as prometheus_client asks for them."""
        yield from self._judgement()
        yield from self._flapping()
        yield from self._silences()
        yield from self._loss()
        yield from self._bytes()
        yield from self._budgets()
        yield from self._fate()
        yield from self._journal()
        yield from modem_metrics.gauges(self.snapshot)
        counted = _gauge("flows_counted", "1 if the user's flows are counted, 0 if only what passes the interfaces is")
        counted.add_metric((), self.snapshot.flows_counted)
        yield counted

    def _judgement(self) -> Iterable[Metric]:
        verdict = _gauge("uplink_verdict", "1 for the present verdict, 0 for the others", "uplink", "family", "verdict")
        active = _gauge("uplink_active", "1 if new flows of the box go by this uplink", "uplink", "family")
        info = _gauge("uplink_info", "Always 1; says what the uplink is", "uplink", "interface", "carrier")
        preference = _gauge("uplink_preference", "Place in the order of preference, 0 for the first choice", "uplink")
        answer = "Seconds since the last answer to a probe or to the user's traffic"
        proven = _gauge("uplink_last_proven_seconds", answer, "uplink", "family")
        for place, uplink in enumerate(self.snapshot.uplinks):
            info.add_metric((uplink.name, uplink.interface, uplink.carrier), 1)
            preference.add_metric((uplink.name,), place)
            for family, view in uplink.families.items():
                for one in Verdict:
                    verdict.add_metric((uplink.name, family.value, one.value), one is view.verdict)
                active.add_metric((uplink.name, family.value), self._is_active(uplink, family))
                if view.last_proven is not None:
                    proven.add_metric((uplink.name, family.value), max(0.0, self.now - view.last_proven))
        return verdict, active, info, preference, proven

    def _flapping(self) -> Iterable[Metric]:
        penalty = _gauge("uplink_flap_penalty", "Convictions that count, halved every 15 minutes", "uplink", "family")
        for uplink in self.snapshot.uplinks:
            for family, view in uplink.families.items():
                penalty.add_metric((uplink.name, family.value), view.penalty.left(self.now))
        return (penalty,)

    def _silences(self) -> Iterable[Metric]:
        over = CounterMetricFamily(
            "failover_silences",
            "Silences that are over, by what became of what was sent",
            labels=("uplink", "family", "kind"),
        )
        for uplink in self.snapshot.uplinks:
            for family, view in uplink.families.items():
                for kind, count in (("buffered", view.silences_buffered), ("lost", view.silences_lost)):
                    over.add_metric((uplink.name, family.value, kind), count)
        return (over,)

    def _is_active(self, uplink: UplinkView, family: Family) -> bool:
        decision = self.snapshot.decisions.get(family)
        return decision is not None and decision.active == uplink.name

    def _loss(self) -> Iterable[Metric]:
        loss = _gauge("probe_loss_ratio", "Share of recent probes without an answer", "uplink", "family", "target")
        for uplink in self.snapshot.uplinks:
            for family, view in uplink.families.items():
                for target in view.targets:
                    if target.loss_ratio is not None:
                        loss.add_metric((uplink.name, family.value, target.url), target.loss_ratio)
        return (loss,)

    def _bytes(self) -> Iterable[Metric]:
        received = CounterMetricFamily(
            "failover_uplink_receive_bytes", "Bytes the uplink's interface received", labels=("uplink",)
        )
        sent = CounterMetricFamily(
            "failover_uplink_transmit_bytes", "Bytes the uplink's interface sent", labels=("uplink",)
        )
        for uplink in self.snapshot.uplinks:
            traffic = self.traffic.get(uplink.interface)
            if traffic is not None:
                received.add_metric((uplink.name,), traffic.received)
                sent.add_metric((uplink.name,), traffic.sent)
        return received, sent

    def _budgets(self) -> Iterable[Metric]:
        left = _gauge("budget_remaining_bytes", "IP bytes left for probes, of a metered uplink", "uplink")
        full = _gauge("budget_capacity_bytes", "The same when nothing has been used", "uplink")
        for uplink in self.snapshot.uplinks:
            if uplink.budget is not None and uplink.budget_left is not None:
                left.add_metric((uplink.name,), uplink.budget_left)
                full.add_metric((uplink.name,), uplink.budget)
        return left, full

    def _fate(self) -> Iterable[Metric]:
        shared = _gauge("uplink_shared_fate", "Always 1; says what two uplinks share", "uplink", "other", "why")
        told = ((uplink.name, one.other, one.why.value) for uplink in self.snapshot.uplinks for one in uplink.fate)
        for labels in islice(dict.fromkeys(told), FATES_MAX):
            shared.add_metric(labels, 1)
        return (shared,)

    def _journal(self) -> Iterable[Metric]:
        ok = _gauge("journal_ok", "1 if the last write of the journal went through, 0 if it failed")
        ok.add_metric((), self.journal_ok)
        dropped = CounterMetricFamily("failover_journal_dropped", "Entries that never reached the journal on disk")
        dropped.add_metric((), self.journal_dropped)
        return ok, dropped


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"failover_{name}", meaning, labels=labels)


class Metrics:
    """The counters. Every method is cheap and none waits."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._lock = threading.Lock()
        """Around the series of uplinks: a page is rendered, and what is gone forgotten, in another thread."""
        self._names: set[str] = set()
        self._ways: set[tuple[str, str, str, str]] = set()
        self._exposition = Exposition()
        self._registry = own = CollectorRegistry()
        self._rtt = Histogram(
            "failover_probe_rtt_seconds",
            "Round-trip time of answered probes",
            ("uplink", "family"),
            registry=own,
            buckets=RTT_BUCKETS,
        )
        self._probe_bytes = _counter(own, "probe_bytes", "IP bytes of our own probes, both ways", "uplink")
        self._convictions = _counter(
            own, "uplink_convictions", "Times that the uplink was judged down", "uplink", "family"
        )
        self._broken = _counter(
            own, "flows_broken", "Flows of this box that were broken, to connect anew", "uplink", "family", "protocol"
        )
        self._forgotten = _counter(
            own, "flows_forgotten", "Forwarded flows that were made to take the present way", "uplink", "family"
        )
        self._messages = _counter(own, "sms_received", "Messages that came, by what they are about", "uplink", "matter")
        self._repairs = modem_metrics.Repairs(own)
        self._switches = _counter(own, "switches", "Changes of the active uplink", "family", "from", "to", "reason")
        self._apply = _times(own, "switch_apply", "From decision to the kernel's word for its replace", APPLY_BUCKETS)
        self._operations = _counter(own, "reconcile_operations", "Changes made in the kernel", "operation", "result")
        for verb in Verb:  # a rate sees the first error only where there was a 0 before it
            for word in ("ok", "error"):
                self._operations.labels(verb.value, word)
        self._reload_ok = Gauge(
            "failover_config_reload_ok", "1 if the config last read is in force, 0 if it was refused", registry=own
        )
        self._reload_ok.set(1)
        self._late = _times(own, "loop_late", "How late the agent came to what was due", LATE_BUCKETS)
        Gauge("failover_build_info", "Always 1", ("version",), registry=own).labels(__version__).set(1)
        ProcessCollector(registry=own)

    def probed(self, probe: SendProbe, result: ProbeResult) -> None:
        """Count a probe's bytes and, if it was answered, its round trip."""
        with self._lock:
            name = self._known(probe.uplink)
            self._probe_bytes.labels(name).inc(result.sent_bytes + result.received_bytes)
            if result.rtt is not None:
                self._rtt.labels(name, probe.family.value).observe(result.rtt)

    def noticed(self, notice: Notice) -> None:
        """Counts a conviction, flows that were broken, a modem's repair, and a switch of the active uplink, not what
        follows one."""
        fields = notice.fields
        if notice.kind is NoticeKind.SWITCH and fields["from"] != fields["to"]:
            self._switched(str(fields["family"]), fields["from"], fields["to"], str(fields["reason"]))
        if notice.kind is NoticeKind.VERDICT and fields["verdict"] == Verdict.DOWN:
            with self._lock:
                self._convictions.labels(self._known(fields["uplink"]), fields["family"]).inc()
        if notice.kind is NoticeKind.FLOWS:
            with self._lock:
                lane = self._known(fields["uplink"]), fields["family"]
                for protocol in (one for one in PROTOCOLS if one in fields):
                    self._broken.labels(*lane, protocol).inc(int(str(fields[protocol])))
                self._forgotten.labels(*lane).inc(int(str(fields.get("forwarded", 0))))
        if notice.kind is NoticeKind.MODEM:
            with self._lock:
                self._repairs.noticed(self._known(fields["uplink"]), notice)

    def _switched(self, family: str, before: object, after: object, reason: str) -> None:
        with self._lock:
            way = family, self._known(before), self._known(after), reason
            if way not in self._ways and len(self._ways) >= WAYS_MAX:
                way = family, OTHER, OTHER, reason
            self._ways.add(way)
            self._switches.labels(*way).inc()

    def received(self, uplink: str, matters: Collection[str]) -> None:
        """A message has come; it counts for each thing that it is about."""
        with self._lock:
            for matter in matters or (OTHER,):
                self._messages.labels(self._known(uplink), matter).inc()

    def switch_applied(self, seconds: float) -> None:
        """Seconds from a decision to the kernel's acknowledgement of its replace."""
        self._apply.observe(seconds)

    def operated(self, results: Iterable[OperationResult]) -> None:
        """Count what was changed in the kernel."""
        for result in results:
            self._operations.labels(result.operation.verb.value, "error" if result.error else "ok").inc()

    def reloaded(self, ok: bool) -> None:
        """Whether the config last read is in force."""
        self._reload_ok.set(ok)

    def turned(self, late: float) -> None:
        """The loop came to what was due, so many seconds late."""
        self._late.observe(max(0.0, late))

    def render(self, picture: Picture) -> bytes:
        """The text exposition format, version 0.0.4. May run in another thread."""
        self._keep(picture.snapshot)
        return self._exposition.render(chain(self._registry.collect(), picture.collect()))

    def _keep(self, snapshot: Snapshot) -> None:
        """Forget what was counted for uplinks that are gone; those that are there start at 0, for the rates' sake."""
        present = [uplink.name for uplink in snapshot.uplinks]
        with self._lock:
            self._repairs.keep(snapshot)
            for name in self._names.difference(present):
                self._probe_bytes.remove(name)
                for matter in MATTERS:
                    self._messages.remove(name, matter)
                for family in FAMILIES:
                    self._rtt.remove(name, family.value)
                    self._convictions.remove(name, family.value)
                    self._forgotten.remove(name, family.value)
                    for protocol in PROTOCOLS:
                        self._broken.remove(name, family.value, protocol)
            ends = {"", OTHER, *present}
            for way in [way for way in self._ways if not (way[1] in ends and way[2] in ends)]:
                self._ways.remove(way)
                self._switches.remove(*way)
            self._names.intersection_update(present)
            for uplink in snapshot.uplinks:
                for matter in MATTERS if uplink.modem else ():
                    self._messages.labels(self._known(uplink.name), matter)
            for name in present:
                for family in FAMILIES:
                    self._convictions.labels(self._known(name), family.value)
                    self._forgotten.labels(self._known(name), family.value)
                    for protocol in PROTOCOLS:
                        self._broken.labels(self._known(name), family.value, protocol)

    def _known(self, name: object) -> str:
        """An uplink's name as a label; empty for none."""
        if not name:
            return ""
        name = str(name)
        if name not in self._names and len(self._names) >= NAMES_MAX:
            return OTHER
        self._names.add(name)
        return name


def _counter(registry: CollectorRegistry, name: str, meaning: str, *labels: str) -> Counter:
    return Counter(f"failover_{name}", meaning, labels, registry=registry)


def _times(registry: CollectorRegistry, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(f"failover_{name}_seconds", meaning, registry=registry, buckets=buckets)
