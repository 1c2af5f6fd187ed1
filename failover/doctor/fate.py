"""Whether uplinks that are to stand in for each other would fall together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from failover.core.fate import bound
from failover.doctor.case import Ground
from failover.doctor.finding import Remarks, note, warning
from failover.export.fate import groups, section
from failover.picture import Sharing

MENDS: Final[Mapping[str, str]] = {
    Sharing.NETWORK: "a SIM of another network in one of them; a brand of its own is no network of its own",
    Sharing.HUB: "plug one of them in elsewhere, or give the hub a power supply of its own",
    Sharing.NEXT_HOP: "have one of them connected by another router",
    Sharing.OUTAGES: "find out what they have in common: power, antenna, mast, the carrier behind both",
}


def shared(ground: Ground) -> Remarks:
    """What the agent knows of it; without one, what the config and the kernel tell: no modem's word then."""
    status = ground.case.status
    uplinks = bound(ground.uplinks, ground.case.config, {})
    told = [{"name": uplink.name, "shared_fate": section(uplink.fate)} for uplink in uplinks]
    for group in groups(status.get("uplinks", ()) if status else told):
        if group.why == Sharing.MODEM:
            yield note(f"{group.sentence()}: one SIM at a time, and none without it")
        else:
            yield warning(f"{group.sentence()}: when it fails, all of them do", MENDS.get(group.why, ""))
