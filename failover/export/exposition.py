"""The text that Prometheus reads (format 0.0.4), as prometheus_client writes it, byte for byte.

Escaping the labels of 700 series, the same at every scrape, is most of what a page costs there (5 of 7 ms). So what
comes before a series' value is kept from one page to the next; the library makes it, when a series is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

Key = tuple[str, ...]
"""Of a sample: its name and its label values."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What does not change of a metric."""

    head: str
    """HELP and TYPE."""
    starts: dict[Key, str]
    """Each sample's line up to its value."""


class Exposition:
    """Renders pages; remembers the series of the last one."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def render(self, metrics: Iterable[Metric]) -> bytes:
        """The page of these metrics. The labels of a metric come in the same order at all times."""
        before, self._known = self._known, {}
        return "".join(part for metric in metrics for part in self._parts(metric, before)).encode()

    def _parts(self, metric: Metric, before: dict[str, _Known]) -> Iterator[str]:
        keys = [(sample.name, *sample.labels.values()) for sample in metric.samples]
        known = before.get(metric.name)
        if known is None or not known.starts.keys() >= set(keys):
            known = _learn(metric, keys)
        self._known[metric.name] = known
        yield known.head
        for key, sample in zip(keys, metric.samples, strict=True):
            yield f"{known.starts[key]} {floatToGoString(sample.value)}\n"  # type: ignore[no-untyped-call]


def _learn(metric: Metric, keys: Iterable[Key]) -> _Known:
    """From the library: lines for HELP, TYPE and each sample, where the value is what follows the last blank."""
    described, typed, *lines = generate_latest(_Only(metric)).decode().removesuffix("\n").split("\n")
    starts = {key: line.rpartition(" ")[0] for key, line in zip(keys, lines, strict=True)}
    return _Known(f"{described}\n{typed}\n", starts)


@dataclass(frozen=True, slots=True)
class _Only:
    metric: Metric

    def collect(self) -> Iterator[Metric]:
        """As generate_latest asks for it."""
        yield self.metric
