"""A snapshot to draw from: two uplinks, of which the second carries IPv4."""

from __future__ import annotations

from dataclasses import replace

from failover.model import Decision, Family, Outcome, Reason, Verdict
from failover.modem import Bearer, Modem, ModemState, Registration, Signal, Sim
from failover.picture import FamilyView, ModemView, Penalty, Shared, Sharing, Snapshot, TargetView, UplinkView

NOW = 1000.0
FLAPPED = Penalty(figure=2.0, at=NOW - 900, half_life=900.0, forgiven_at=NOW + 3890.0)
"""Two convictions a quarter of an hour ago."""
TARGET = TargetView("icmp://1.1.1.1", 0.25, 0.03, Outcome.ANSWERED)


def family(verdict: Verdict, *, proven: float | None = 999.5, hold: float | None = None) -> FamilyView:
    return FamilyView(
        verdict=verdict,
        text="because",
        since=940.0,
        loss_ratio=0.25,
        rtt_seconds=0.0301234567,
        last_proven=proven,
        hold_until=hold,
        targets=(TARGET,),
    )


def uplink(
    name: str, ipv4: FamilyView, ipv6: FamilyView, *, carrier: str = "", left: float | None = None
) -> UplinkView:
    families, full = {Family.IPV4: ipv4, Family.IPV6: ipv6}, None if left is None else 2e6
    return UplinkView(name, f"wwan-{name}", carrier, 0, full is not None, False, families, full, left)


def snapshot() -> Snapshot:
    decision = Decision(
        Family.IPV4, "docomo", "au", ("docomo", "au"), Reason.DOUBT, "silent", {"silence_seconds": 0.36}, 990.0, 970.0
    )
    nothing = Decision(Family.IPV6, None, None)
    return Snapshot(
        decisions={Family.IPV4: decision, Family.IPV6: nothing},
        uplinks=(
            uplink(
                "au",
                family(Verdict.DOUBTFUL, hold=1010.0),
                family(Verdict.ABSENT, proven=None),
                carrier="KDDI",
                left=1999944.6,
            ),
            uplink("docomo", family(Verdict.UP, hold=999.0), family(Verdict.UNKNOWN, proven=None)),
        ),
        use="docomo",
        use_until=4600.0,
        use_strict=False,
    )


MODEM = Modem(
    "/modem/3",
    imei="356938035640011",
    maker="Quectel",
    model="EM12",
    firmware="R01",
    state=ModemState.CONNECTED,
    slots=(Sim(iccid="8981300000000000011"), Sim(esim=True), None),
    sim=Sim(iccid="8981300000000000011", operator_code="44051", operator_name="KDDI"),
    registration=Registration.HOME,
    operator_code="44051",
    operator_name="KDDI",
    technologies=("lte", "5gnr"),
    attached=True,
    signal=Signal(-97.0, -11.5, 9.0, "lte"),
    bearers=(Bearer("/bearer/1", error="was lost"), Bearer("/bearer/2", True, "wwan-au", (), "", 1000, 200)),
)
"""Slot 1 in use, an eSIM in slot 2, nothing in slot 3."""
VIEW = ModemView(1, MODEM, listed=True)


def kindred(shown: Snapshot) -> Snapshot:
    """The same, the first two on one USB hub."""
    one, other, *others = shown.uplinks
    fates = (Shared(name, Sharing.HUB, "the USB hub 1-1") for name in (other.name, one.name))
    both = (replace(uplink, fate=(fate,)) for uplink, fate in zip((one, other), fates, strict=True))
    return replace(shown, uplinks=(*both, *others))


def mobile(*views: ModemView) -> Snapshot:
    """The same, with modems: the first of them `au`'s, the second, if there is one, `docomo`'s; both on one hub."""
    shown = kindred(snapshot())
    views = views or (VIEW,)
    uplinks = [replace(uplink, modem=view) for uplink, view in zip(shown.uplinks, views, strict=False)]
    return replace(shown, uplinks=(*uplinks, *shown.uplinks[len(uplinks) :]))
