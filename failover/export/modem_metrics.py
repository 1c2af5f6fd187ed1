"""What Prometheus reads of modems: gauges drawn from a snapshot, and the steps of repair, counted as they are taken.

Uplinks that are no modems have no series here. What the network tells is left out while another SIM of the modem is in
use, or nobody lists it. No number that tells a person or a thing is a label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from failover.config.modems import Rung
from failover.export.modem_status import NOTHING, served
from failover.model import Notice
from failover.modem import Registration
from failover.picture import ModemView, Snapshot

LEVELS: Final = ("rsrp_dbm", "rsrq_db", "snr_db")
ABOUT: Final = ("uplink", "slot", "operator", "operator_code", "technology", "maker", "model")
STEPS: Final = frozenset(step.value for step in Rung)
TAKEN, HELPED = "taken", "helped"
OTHER: Final = "other"
"""In place of an uplink and its carrier beyond the bounds."""
REPAIRS_MAX: Final = 512
"""Kinds of repairs (uplink, carrier, step) that get series of their own: carriers change as modems roam."""


def gauges(snapshot: Snapshot) -> Iterator[Metric]:
    """Of every uplink that is a modem."""
    views = [(uplink.name, uplink.modem) for uplink in snapshot.uplinks if uplink.modem is not None]
    yield from _signal(views)
    yield from _network(views)
    yield from _data(views)
    why = "1 while it must not be used: its SIM is the wrong one or missing, or it roams where that is denied"
    refused = _gauge("refused", why, "uplink")
    for name, view in views:
        refused.add_metric((name,), bool(view.refused))
    yield refused


def _signal(views: list[tuple[str, ModemView]]) -> Iterator[Metric]:
    meanings = ("Received power of the serving cell's reference signal", "Its quality", "Its ratio to noise")
    for place, (level, meaning) in enumerate(zip(LEVELS, meanings, strict=True)):
        family = _gauge(f"signal_{level}", meaning, "uplink", "technology")
        for name, view in views:
            signal = served(view).signal
            value = (signal.rsrp, signal.rsrq, signal.snr)[place]
            if value is not None:
                family.add_metric((name, signal.technology), value)
        yield family


def _network(views: list[tuple[str, ModemView]]) -> Iterator[Metric]:
    registration = _gauge("registration", "1 for how it is registered now, 0 for the other states", "uplink", "state")
    info = _gauge("info", "Always 1; says what the modem is, and which network serves it", *ABOUT)
    for name, view in views:
        modem, device = served(view), view.modem or NOTHING
        for state in Registration:
            registration.add_metric((name, state.value), state is modem.registration)
        network = (modem.operator_name, modem.operator_code, modem.technologies[-1] if modem.technologies else "")
        info.add_metric((name, str(view.slot), *network, device.maker, device.model), 1)
    yield from (registration, info)


def _data(views: list[tuple[str, ModemView]]) -> Iterator[Metric]:
    """The packet service, and the bearer's own count of bytes: the carrier's, more nearly than the interface's."""
    attached = _gauge("attached", "1 if it is attached to the packet service, where that is told", "uplink")
    connected = _gauge("connected", "1 if it has a bearer that is connected", "uplink")
    received = _bytes("receive", "Bytes that the bearer received")
    sent = _bytes("transmit", "Bytes that the bearer sent")
    for name, view in views:
        modem, bearer = served(view), served(view).bearer
        connected.add_metric((name,), bearer is not None)
        if modem.attached is not None:
            attached.add_metric((name,), modem.attached)
        if bearer is not None and bearer.received_bytes is not None and bearer.sent_bytes is not None:
            received.add_metric((name,), bearer.received_bytes)
            sent.add_metric((name,), bearer.sent_bytes)
    yield from (attached, connected, received, sent)


def _bytes(way: str, meaning: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"failover_modem_{way}_bytes", f"{meaning}, since it was connected", labels=("uplink",))


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"failover_modem_{name}", meaning, labels=labels)


class Repairs:
    """The steps of repair that were taken, and those after which packets passed again. Not for several threads at a
    time."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("uplink", "carrier", "step", "result")
        self._counter = Counter(
            "failover_modem_repairs", "Steps of repair, taken, and of these what helped", labels, registry=registry
        )
        self._kinds: set[tuple[str, str, str]] = set()
        self._carriers: Mapping[str, str] = {}

    def noticed(self, uplink: str, notice: Notice) -> None:
        """A notice of kind MODEM; `uplink`: its uplink as a label."""
        step = str(notice.fields.get("step", ""))
        if step not in STEPS or "error" in notice.fields:
            return
        kind = self._known(uplink, str(notice.fields.get("carrier", "")), step)
        self._counter.labels(*kind, HELPED if notice.fields.get("helped") else TAKEN).inc()

    def keep(self, snapshot: Snapshot) -> None:
        """Forget uplinks that are gone, or no modems any more; the others start at 0 with their present carrier."""
        present = {uplink.name: uplink.carrier for uplink in snapshot.uplinks if uplink.modem is not None}
        for kind in [kind for kind in self._kinds if kind[0] not in (OTHER, *present)]:
            self._kinds.remove(kind)
            for result in (TAKEN, HELPED):
                self._counter.remove(*kind, result)
        for name, carrier in present.items():
            for step in Rung:
                self._known(name, carrier, step.value)

    def _known(self, uplink: str, carrier: str, step: str) -> tuple[str, str, str]:
        kind = uplink, carrier, step
        if kind not in self._kinds and len(self._kinds) >= REPAIRS_MAX:
            kind = OTHER, OTHER, step
        self._kinds.add(kind)
        for result in (TAKEN, HELPED):
            self._counter.labels(*kind, result)
        return kind
