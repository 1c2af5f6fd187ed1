"""What the weather of an uplink can be, on disk: the keys of a scenario that say it, and readers of their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from failover.config.values import WrongValueError, parse_duration, parse_number
from failover.config.yaml_reading import Place, Reader, boolean, bounded, choice, describe, duration, read_keys, text
from failover.config.yaml_tree import Entries
from failover.modem import Deed, Registration
from failover.sim.links import Bursts, Nap, Rtt
from failover.sim.script import Gaps

CURES: Final = (Deed.RECONNECT, Deed.REGISTER, Deed.RESET)
TECHNOLOGIES: Final = ("gprs", "umts", "lte", "5gnr")

Keys = Mapping[str, Reader[Any]]


def _span(parse: Callable[[str], float], what: str, example: str) -> Reader[tuple[float, float]]:
    """`A` or `A..B`, the smaller one first or not."""

    def read(place: Place) -> tuple[float, float]:
        low, dots, high = text(what, example)(place).partition("..")
        return parse(low), parse(high if dots else low)

    return read


_duration_span = _span(parse_duration, "a duration", "1s..3s")


def _rtt(place: Place) -> Rtt:
    if isinstance(place.value, Entries):
        return _ladder(place, "rtt", "60ms", "95ms", "240ms")
    low, high = _ordered(place, _duration_span)
    return Rtt.around(low) if low == high else Rtt.between(low, high)


def _ladder(place: Place, section: str, *example: str) -> Rtt:
    steps = read_keys(place, VALUES[section], {})
    if not 0 < steps.get("p50", 0) <= steps.get("p90", 0) <= steps.get("p99", 0):
        raise WrongValueError("no ladder of quantiles", "as {{p50: {}, p90: {}, p99: {}}}, growing".format(*example))
    return Rtt.around(**steps)


def _gaps(place: Place) -> Gaps:
    values = read_keys(place, VALUES["holes"], {})
    if len(values) < len(VALUES["holes"]):
        raise WrongValueError("how often, and how long?", "as {every: 4s..7s, last: 1s..3s}")
    return Gaps(**values)


def _nap(place: Place) -> Nap:
    values = read_keys(place, VALUES["sleeps"], {})
    if len(values) < len(VALUES["sleeps"]):
        raise WrongValueError("when, and how long to wake up?", "as {after: 10s, wakes: 300ms}")
    return Nap(**values)


def _gap(place: Place) -> Rtt:
    if isinstance(place.value, Entries):
        return _ladder(place, "gap", "2s", "4s", "6s")
    low, high = _ordered(place, _duration_span)
    if low < 0.1:
        raise WrongValueError(f"{describe(place)} is too short", "at least 100ms")
    return Rtt.between(low, high)


def _ordered(place: Place, reader: Reader[tuple[float, float]]) -> tuple[float, float]:
    low, high = reader(place)
    if not 0 < low <= high:
        raise WrongValueError(f"{describe(place)} is no range", "as 1s..3s, the smaller one first")
    return low, high


def _loss(place: Place) -> tuple[float, float]:
    first, last = _span(parse_number, "a loss", "0.05..0.2")(place)
    if not (0 <= first <= 1 and 0 <= last <= 1):
        raise WrongValueError(f"{describe(place)} is no loss", "a ratio from 0 to 1, or two: 0.05..0.2")
    return first, last


def _bursts(place: Place) -> Bursts:
    values = read_keys(place, VALUES["bursts"], {})
    if len(values) < 2 or not 0 < values["enter"] < values["stay"] < 1:
        raise WrongValueError("no burst process", "as {enter: 0.0027, stay: 0.64}, 0 < enter < stay < 1")
    return Bursts(**values)


def _registration(place: Place) -> Registration:
    return Registration(choice("a registration", tuple(Registration))(place))


def _cure(place: Place) -> Deed:
    return Deed(choice("a cure", CURES)(place))


def _ratio(low: float, high: float) -> Reader[float]:
    return bounded("a number", parse_number, low, high, lambda ratio: f"{ratio:g}")


WEATHER: Final[Keys] = {
    "rtt": _rtt,
    "rtt_factor": _ratio(0.01, 1000),
    "loss": _loss,
    "passes": _ratio(0, 1),
    "bursts": _bursts,
    "holes": _gaps,
    "stalls": _gaps,
    "stalled": boolean,
    "refused": boolean,
    "portal": boolean,
    "resolver": boolean,
    "one_way": boolean,
    "unheard": boolean,
    "echo": boolean,
    "sleeps": _nap,
    "registered": boolean,
    "registration": _registration,
    "technology": choice("a technology", TECHNOLOGIES),
    "attaches": _ratio(0, 1),
    "cure": _cure,
    "link": boolean,
    "address": boolean,
}

VALUES: Final[Mapping[str, Keys]] = {
    "rtt": {**dict.fromkeys(("p50", "p90", "p99"), duration("1ms", "60s")), "memory": _ratio(0, 0.999)},
    "gap": dict.fromkeys(("p50", "p90", "p99"), duration("1s", "1h")),
    "holes": {"every": _gap, "last": _gap},
    "sleeps": {"after": duration("100ms", "1h"), "wakes": duration("1ms", "1m")},
    "bursts": {"enter": _ratio(0, 1), "stay": _ratio(0, 1)},
}
"""Section -> key -> reader."""
