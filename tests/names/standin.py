"""Somebody in systemd-resolved's place on a bus where anybody may be anybody: as strange as a test wants it."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

CONFIG = """<busconfig><type>custom</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default">
<allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
</policy></busconfig>"""
Answers = dict[str, Callable[[Message], Message | None]]
"""By method; None: no answer."""


def value(signature: str, *body: object) -> Callable[[Message], Message]:
    return lambda asked: Message.new_method_return(asked, signature, list(body))


def nothing(asked: Message) -> None:
    return None


@asynccontextmanager
async def in_its_place(address: str, answers: Answers) -> AsyncIterator[list[str]]:
    """And in systemd-networkd's. Gives the methods that were called."""
    bus = await MessageBus(address, BusType.SYSTEM).connect()
    called: list[str] = []

    def handle(asked: Message) -> Message | bool | None:
        if asked.message_type is not MessageType.METHOD_CALL:
            return None
        called.append(str(asked.member))
        return answers[str(asked.member)](asked) or True  # True: answered, by nobody

    bus.add_message_handler(handle)
    for name in ("org.freedesktop.resolve1", "org.freedesktop.network1"):
        await bus.request_name(name)
    try:
        yield called
    finally:
        bus.disconnect()
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]


@dataclass
class Link:
    """What systemd-resolved keeps of one."""

    servers: tuple[Any, ...] = ()
    domains: tuple[tuple[str, bool], ...] = ()
    default: bool | None = None

    @property
    def is_default(self) -> bool:
        """As it tells."""
        if self.default is not None:
            return self.default
        return bool(self.servers) and not any(only for _, only in self.domains)


SETTERS = ("SetLinkDNSEx", "SetLinkDomains", "SetLinkDefaultRoute", "RevertLink", "RevertLinkDNS")


class Settings:
    """Methods that keep what they are told, by ifindex."""

    def __init__(self, links: dict[int, Link]) -> None:
        self.links = links
        self._configured = copy.deepcopy(links)
        self.log: list[tuple[str, int]] = []
        """What was set, in order."""
        self.answers: Answers = {
            "GetLink": lambda asked: value("o", f"/link/{asked.body[0]}")(asked),
            "GetAll": self._tell,
            **dict.fromkeys(SETTERS, self.set),
        }

    def told(self) -> dict[int, tuple[object, ...]]:
        """All that can be read."""
        return {index: (link.servers, link.domains, link.is_default) for index, link in self.links.items()}

    def set(self, asked: Message) -> Message | None:
        index, *rest = asked.body
        link = self.links[index]
        match str(asked.member):
            case "SetLinkDNSEx":
                link.servers = tuple(tuple(entry) for entry in rest[0])
            case "SetLinkDomains":
                link.domains = tuple((name, only) for name, only in rest[0])
            case "SetLinkDefaultRoute":
                link.default = rest[0]
            case "RevertLink":
                self.links[index] = Link()
            case "RevertLinkDNS":
                self.links[index] = copy.copy(self._configured[index])
        self.log.append((str(asked.member), index))
        return value("")(asked)

    def _tell(self, asked: Message) -> Message:
        link = self.links[int(str(asked.path).rpartition("/")[2])]
        found = {
            "DNSEx": Variant("a(iayqs)", list(link.servers)),
            "Domains": Variant("a(sb)", list(link.domains)),
            "DefaultRoute": Variant("b", link.is_default),
        }
        return value("a{sv}", found)(asked)


class Late(Settings):
    """As systemd-networkd: what is set is to be read a while later."""

    def __init__(self, links: dict[int, Link]) -> None:
        self._waiting: list[Message] = []
        self._reads = 0
        super().__init__(links)

    def set(self, asked: Message) -> Message | None:
        self._waiting.append(asked)
        return value("")(asked)

    def _tell(self, asked: Message) -> Message:
        self._reads += 1
        if self._reads % 5 == 0:
            for waiting in self._waiting:
                super().set(waiting)
            self._waiting.clear()
        return super()._tell(asked)
