"""What Prometheus reads: counters kept as things happen, gauges drawn from a snapshot at each scrape.

Metric names and labels are a contract (DESIGN). Nothing here is global: the registry is the object's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from failover import __version__
from failover.facts import OperationResult
from failover.model import Family, Notice, NoticeKind, ProbeResult, SendProbe, Verdict
from failover.picture import Snapshot, UplinkView

RTT_BUCKETS: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
"""Seconds. Dense where radio links live, up to the latest replies seen on real drives (10 s)."""
APPLY_BUCKETS: Final = (0.0001, 0.0002, 0.0003, 0.0004, 0.0006, 0.0008, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5)
"""Seconds, around the promise of 1 ms."""
NAMES_MAX: Final = 256
"""Uplink names that get series of their own; interfaces can come and go under ever new names."""
OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of one interface since it was made."""

    received: int
    sent: int


def traffic() -> dict[str, Traffic]:
    """Of every interface in our network namespace. The names stay as the kernel has them, to be matched."""
    counters = psutil.net_io_counters(pernic=True, nowrap=False)
    return {name: Traffic(io.bytes_recv, io.bytes_sent) for name, io in counters.items()}


@dataclass(frozen=True, slots=True)
class Picture:
    """The gauges of one moment; a prometheus collector."""

    snapshot: Snapshot
    now: float
    traffic: Mapping[str, Traffic]

    def collect(self) -> Iterator[Metric]:
        """All gauges, as prometheus_client asks for them."""
        yield from self._judgement()
        yield from self._loss()
        yield from self._bytes()

    def _judgement(self) -> Iterable[Metric]:
        verdict = _gauge("uplink_verdict", "1 for the present verdict, 0 for the others", "uplink", "family", "verdict")
        active = _gauge("uplink_active", "1 if new flows of the box go by this uplink", "uplink", "family")
        info = _gauge("uplink_info", "Always 1; says what the uplink is", "uplink", "interface", "carrier")
        proven = _gauge("uplink_last_proven_seconds", "Seconds since the last answer to a probe", "uplink", "family")
        for uplink in self.snapshot.uplinks:
            info.add_metric((uplink.name, uplink.interface, uplink.carrier), 1)
            for family, view in uplink.families.items():
                for one in Verdict:
                    verdict.add_metric((uplink.name, family.value, one.value), one is view.verdict)
                active.add_metric((uplink.name, family.value), self._is_active(uplink, family))
                if view.last_proven is not None:
                    proven.add_metric((uplink.name, family.value), max(0.0, self.now - view.last_proven))
        return verdict, active, info, proven

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


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"failover_{name}", meaning, labels=labels)


class Metrics:
    """The counters. Every method is cheap and none waits."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._names: set[str] = set()
        self._registry = own = CollectorRegistry()
        self._rtt = Histogram(
            "failover_probe_rtt_seconds",
            "Round-trip time of answered probes",
            ("uplink", "family"),
            registry=own,
            buckets=RTT_BUCKETS,
        )
        self._probe_bytes = Counter(
            "failover_probe_bytes", "IP bytes of our own probes, both ways", ("uplink",), registry=own
        )
        self._switches = Counter(
            "failover_switches", "Changes of the active uplink", ("family", "from", "to", "reason"), registry=own
        )
        self._apply = Histogram(
            "failover_switch_apply_seconds",
            "From the decision to the kernel's acknowledgement of its replace",
            registry=own,
            buckets=APPLY_BUCKETS,
        )
        self._operations = Counter(
            "failover_reconcile_operations", "Changes made in the kernel", ("operation", "result"), registry=own
        )
        self._reload_ok = Gauge(
            "failover_config_reload_ok", "1 if the config last read is in force, 0 if it was refused", registry=own
        )
        self._reload_ok.set(1)
        Gauge("failover_build_info", "Always 1", ("version",), registry=own).labels(__version__).set(1)

    def probed(self, probe: SendProbe, result: ProbeResult) -> None:
        """Count a probe's bytes and, if it was answered, its round trip."""
        name = self._known(probe.uplink)
        self._probe_bytes.labels(name).inc(result.sent_bytes + result.received_bytes)
        if result.rtt is not None:
            self._rtt.labels(name, probe.family.value).observe(result.rtt)

    def noticed(self, notice: Notice) -> None:
        """Counts a switch of the active uplink; open flows that follow one are not another."""
        fields = notice.fields
        if notice.kind is NoticeKind.SWITCH and fields["from"] != fields["to"]:
            way = self._known(fields["from"]), self._known(fields["to"])
            self._switches.labels(fields["family"], *way, fields["reason"]).inc()

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

    def render(self, picture: Picture) -> bytes:
        """The text exposition format, version 0.0.4. May run in another thread."""
        return generate_latest(_Page(self._registry, picture))

    def _known(self, name: object) -> str:
        """An uplink's name as a label; empty for none."""
        if name is None:
            return ""
        name = str(name)
        if name not in self._names and len(self._names) >= NAMES_MAX:
            return OTHER
        self._names.add(name)
        return name


@dataclass(frozen=True, slots=True)
class _Page:
    registry: CollectorRegistry
    picture: Picture

    def collect(self) -> Iterator[Metric]:
        """The counters, then the gauges."""
        yield from self.registry.collect()
        yield from self.picture.collect()
