"""What a config comes to: as a document, and in words for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from failover.config import Config
from failover.model import FAMILIES, Target


def summary(config: Config) -> dict[str, Any]:
    """The uplinks in order, the targets of each family, and where metrics are served."""
    uplinks = [
        {
            "name": uplink.name,
            "interface": uplink.interface,
            "carrier": uplink.carrier,
            "metered": uplink.metered is not None,
            "targets": _urls(config.targets_of(uplink)),
        }
        for uplink in config.uplinks
    ]
    return {"uplinks": uplinks, "targets": _urls(config.targets), "metrics": config.metrics.listen}


def _urls(targets: Sequence[Target]) -> dict[str, list[str]]:
    return {family.value: [target.url for target in targets if target.family in (None, family)] for family in FAMILIES}


def lines(document: Mapping[str, Any]) -> Iterator[str]:
    """A summary in words."""
    if not document["uplinks"]:
        yield "uplinks: discovered from the default routes of table main, in metric order"
    for rank, uplink in enumerate(document["uplinks"], 1):
        extras = [uplink["carrier"], "metered" if uplink["metered"] else ""]
        yield " ".join(filter(None, [f"uplink {rank}: {uplink['name']} on {uplink['interface']}", *extras]))
        if uplink["targets"] != document["targets"]:
            for family, urls in uplink["targets"].items():
                yield f"  {family} targets of its own: {', '.join(urls) or 'none'}"
    for family, urls in document["targets"].items():
        yield f"{family} targets: {', '.join(urls) or 'none'}"
    yield f"metrics: {document['metrics'] or 'not served'}"
