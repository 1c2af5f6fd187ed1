"""An uplink's modem as a section of `status --json`, and its repair for `explain --json`; names and units are a
contract.

What tells a person or a thing is shown by its last digits. While another SIM of the modem is in use, or nobody lists
it, nothing is said of its network: that would be another SIM's, or of another time. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from failover.export.numbers import left, number
from failover.modem import Bearer, Modem, Registration, Signal, Sim, masked
from failover.picture import ModemView, Snapshot

DAY: Final = 86400.0
"""Seconds."""
NOTHING: Final = Modem("")


def section(view: ModemView, now: float) -> dict[str, object]:
    """`view` as plain JSON values; `now` is the monotonic time of its stamps."""
    modem = view.modem or NOTHING
    return {
        "imei": masked(modem.imei),
        "maker": modem.maker,
        "model": modem.model,
        "firmware": modem.firmware,
        "listed": view.listed,
        "state": modem.state.name.lower(),
        "failure": modem.failure,
        "lock": modem.lock,
        "dialled_by": modem.foreign,
        "voice_centric": modem.voice_centric,
        "refused": view.refused,
        **_network(served(view)),
        "slot": view.slot,
        "slot_in_use": modem.slot if view.modem else None,
        "slots": [_slot(place, sim, modem) for place, sim in slots(modem)],
        "slot_due_seconds": left(view.slot_due, now),
        "switch_seconds": number(view.switch_seconds),
        "repair": repair(view, now),
    }


def repair(view: ModemView, now: float) -> dict[str, object]:
    """What was done, what comes next and when, or why nothing does."""
    return {
        "step": view.step,
        "next": view.step_next,
        "next_seconds": left(view.step_due, now),
        "obstacle": view.obstacle,
        "resets_24h": sum(now - at < DAY for at in view.resets),
    }


def repairs(snapshot: Snapshot, now: float) -> list[dict[str, object]]:
    """Of the modems that want one, or another SIM."""
    return [
        {"uplink": uplink.name, **repair(view, now), "slot": view.slot, "slot_due_seconds": left(view.slot_due, now)}
        for uplink in snapshot.uplinks
        if (view := uplink.modem) is not None and (view.step or view.step_next or view.obstacle or view.slot_due)
    ]


def served(view: ModemView) -> Modem:
    """Its modem while that serves this uplink; else one of which nothing is known."""
    modem = view.modem
    return modem if modem is not None and view.listed and modem.slot == view.slot else NOTHING


def slots(modem: Modem) -> Iterator[tuple[int, Sim | None]]:
    """Each place with its SIM, None where it is empty; the one in use is told of better by itself."""
    if modem is NOTHING:
        return
    for place, sim in enumerate(modem.slots, 1) if modem.slots else [(modem.slot, modem.sim)]:
        yield place, modem.sim or sim if place == modem.slot else sim


def _network(modem: Modem) -> dict[str, object]:
    return {
        "registration": modem.registration.value,
        "roaming": modem.registration is Registration.ROAMING,
        "operator_code": modem.operator_code,
        "operator_name": modem.operator_name,
        "technologies": list(modem.technologies),
        "attached": modem.attached,
        "signal": _signal(modem.signal),
        "bearer": _bearer(modem),
    }


def _signal(signal: Signal) -> dict[str, object]:
    return {
        "technology": signal.technology,
        "rsrp_dbm": number(signal.rsrp),
        "rsrq_db": number(signal.rsrq),
        "snr_db": number(signal.snr),
    }


def _bearer(modem: Modem) -> dict[str, object]:
    """The one that is connected; else why none is."""
    failed = next((bearer for bearer in modem.bearers if bearer.error), Bearer(""))
    bearer = modem.bearer or failed
    return {
        "connected": bearer.connected,
        "interface": bearer.interface,
        "error": bearer.error,
        "received_bytes": bearer.received_bytes,
        "sent_bytes": bearer.sent_bytes,
    }


def _slot(place: int, sim: Sim | None, modem: Modem) -> dict[str, object]:
    there = sim or Sim()
    return {
        "slot": place,
        "in_use": place == modem.slot,
        "present": sim is not None,
        "iccid": masked(there.iccid),
        "operator_code": there.operator_code,
        "operator_name": there.operator_name,
        "esim": there.esim,
    }
