"""Vans to be scraped: the real engine plays a script in virtual time, and real metrics hear of all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from failover.config import Config
from failover.config.targets import parse_target
from failover.core.engine import Engine, Event
from failover.export.metrics import Metrics, Picture, Traffic
from failover.model import Family, Notice, NoticeKind, Outcome, ProbeKind, ProbeResult, SendProbe, Target, Verdict
from failover.picture import ModemView, Snapshot, TargetView, UplinkView
from failover.seam import Applied, Effect
from failover.sim.scenario import parse
from failover.sim.stage import play_script
from tests.export.pictures import NOW, family, kindred

CARRIERS = ("au", "docomo", "softbank", "rakuten", "povo", "starlink", "ether", "depot")
TARGETS = tuple(
    parse_target(url)
    for place in ("198.51.100.{}", "[2001:db8:100::{}]")
    for number, form in enumerate(("icmp://{}",) * 5 + ("tcp://{}:443", "dns://{}/a.example", "dns://{}/b.example"))
    for url in [form.format(place.format(number + 1))]
)
"""Eight of each family."""
HOSTILE = ('a"b', "a\nfailover_build_info 7", "a\\", "\x1b[31mred", "[red]x", '"; flush ruleset', '\\"}', "\u202eb")
"""As an interface, a carrier or a target may be called; adapters clean what is not printable, nothing else."""


def script(minutes: float, *carriers: str, everyday: str = "rtt: 40ms", phases: str = "") -> str:
    """A scenario in both families; the phases are those of the first carrier, and the last of several is metered."""
    first, *others = carriers
    return f"""
title: test
length: {minutes}m
families: [ipv4, ipv6]
uplinks:
  - {{name: {first}, everyday: {{{everyday}}}, phases: [{phases}]}}
""" + "".join(f"  - {{name: {name}, metered: {name == others[-1]}, everyday: {{{everyday}}}}}\n" for name in others)


class Engines:
    """Makes engines of which `metrics` hear everything that the agent tells them; keeps the last one."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def __call__(self, config: Config, random: Callable[[], float]) -> Engine:
        self.last = _Heard(config, random, self.metrics)
        return self.last


class _Heard(Engine):
    def __init__(self, config: Config, random: Callable[[], float], metrics: Metrics) -> None:
        super().__init__(config, random)
        self.metrics = metrics
        self.now = 0.0
        self._flying: dict[int, SendProbe] = {}

    def handle(self, now: float, event: Event) -> list[Effect]:
        match event:
            case ProbeResult():
                self.metrics.probed(self._flying.pop(event.id), event)
            case Applied(results):
                self.metrics.operated(results)
            case _:
                pass
        return self._tell(now, super().handle(now, event))

    def wake(self, now: float) -> list[Effect]:
        return self._tell(now, super().wake(now))

    def _tell(self, now: float, effects: list[Effect]) -> list[Effect]:
        self.now = now
        for effect in effects:
            match effect:
                case SendProbe():
                    self._flying[effect.id] = effect
                case Notice():
                    self.metrics.noticed(effect)
                case _:
                    pass
        return effects


@dataclass(slots=True)
class Van:
    """One that has played a script, and can play more: the metrics go on counting, as they would in one agent."""

    metrics: Metrics = field(default_factory=Metrics)
    journal_ok: bool = True
    modem: ModemView | None = None
    """What its first uplink is."""
    _engine: _Heard | None = None

    def play(self, text: str) -> Van:
        engines = Engines(self.metrics)
        play_script(parse(text, "test"), Config(targets=TARGETS), None, 1, engines)
        self._engine = engines.last
        return self

    @property
    def names(self) -> list[str]:
        return [uplink.name for uplink in self.picture().snapshot.uplinks]

    def picture(self) -> Picture:
        assert self._engine is not None
        snapshot = self._engine.snapshot()
        if self.modem is not None:
            first, *others = snapshot.uplinks
            snapshot = kindred(replace(snapshot, uplinks=(replace(first, modem=self.modem), *others)))
        carried = {uplink.interface: Traffic(10**9 + uplink.slot, 10**8) for uplink in snapshot.uplinks}
        return Picture(snapshot, self._engine.now, carried, self.journal_ok)

    def page(self) -> Callable[[], bytes]:
        """As the agent's desk prepares it."""
        picture = self.picture()
        return lambda: self.metrics.render(picture)


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
        targets = tuple(TargetView(f"http://x/{name}", 0.5, 0.03, None) for name in self._names)
        view = replace(family(Verdict.UP), targets=targets)
        uplinks = tuple(
            UplinkView(name, name, name, 0, False, False, dict.fromkeys(Family, view)) for name in self._names
        )
        return Picture(Snapshot({}, uplinks, None, None, False), NOW, {})
