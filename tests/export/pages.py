"""A metrics page as a scraper reads it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(page: bytes) -> Samples:
    """Every sample of a page by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in text_string_to_metric_families(page.decode())
        for sample in metric.samples
    }


def at(samples: Samples, metric: str, /, **labels: str) -> float:
    return samples[f"failover_{metric}", tuple(sorted(labels.items()))]
