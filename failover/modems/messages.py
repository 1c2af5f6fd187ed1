"""The SMS that modems keep: each is read once, when all its parts are there. ModemManager puts them together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from failover.bus import BusError
from failover.model import clean
from failover.modem import Message
from failover.modems.line import Line
from failover.modems.numbers import MESSAGING, MODEM, NOTHING, RECEIVED, SERVICE, SIM, SMS, THREE_GPP
from failover.modems.tree import Tree
from failover.modems.values import digits, word

TEXT: Final = 2000
"""Characters of a text at most; one of ten parts has 1530."""
TIME: Final = 40
"""Characters of a time."""
RAW: Final = 16 * TEXT


class Messages:
    """`read` when something may have come; each message goes to `heard`."""

    def __init__(self, heard: Callable[[Message], None]) -> None:
        self._heard = heard
        self._done: set[str] = set()
        """Read, or not for us."""

    def pending(self, tree: Tree) -> list[tuple[str, str]]:
        """The messages that are to be read, each with its modem; those that are no more are forgotten."""
        listed = {
            sms: modem for modem in tree.holding(MESSAGING) for sms in tree.of(modem, MESSAGING).get("Messages", ())
        }
        self._done &= listed.keys()
        return [(sms, modem) for sms, modem in listed.items() if sms not in self._done]

    def changed(self, path: str) -> None:
        """A message that was not whole may be so now."""
        self._done.discard(path)

    async def read(self, line: Line, tree: Tree) -> None:
        """All that are pending. BusError, if nobody answers."""
        while pending := self.pending(tree):
            sms, modem = pending[0]
            self._done.add(sms)
            try:
                found = await line.get_all(SERVICE, sms, SMS)
            except BusError as error:
                if not error.name:
                    raise
                continue
            if _number(found.get("State")) == RECEIVED:
                self._heard(_message(sms, found, *_owner(tree, modem)))

    def forget(self) -> None:
        """The manager is another one: what it calls them says nothing."""
        self._done.clear()


def modem_of(tree: Tree, sms: str) -> str:
    """The handle of the modem that keeps it; empty: none does."""
    holders = (modem for modem in tree.holding(MESSAGING) if sms in tree.of(modem, MESSAGING).get("Messages", ()))
    return next(holders, "")


def _owner(tree: Tree, modem: str) -> tuple[str, str]:
    """IMEI and ICCID."""
    about = tree.of(modem, MODEM)
    sim = tree.of(about.get("Sim", NOTHING), SIM)
    imei = digits(tree.of(modem, THREE_GPP).get("Imei")) or digits(about.get("EquipmentIdentifier"))
    return imei, digits(sim.get("SimIdentifier"))


def _message(handle: str, found: Mapping[str, Any], imei: str, iccid: str) -> Message:
    return Message(
        handle=handle,
        imei=imei,
        iccid=iccid,
        number=word(_text(found.get("Number"))),
        text=clean(" ".join(_text(found.get("Text"))[:RAW].split()), TEXT),
        received_at=clean(_text(found.get("Timestamp")), TIME),
    )


def _text(typed: object) -> str:
    value = getattr(typed, "value", None)
    return value if getattr(typed, "signature", None) == "s" and isinstance(value, str) else ""


def _number(typed: object) -> int | None:
    value = getattr(typed, "value", None)
    return value if getattr(typed, "signature", None) == "u" and isinstance(value, int) else None
