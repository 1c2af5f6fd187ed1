"""Somebody in ModemManager's place, as strange as a test wants it: for what simulated modems cannot play.

`Fake` is the test's end. The service is a process of its own (`python -m tests.modems.fake ADDRESS`), so that a flood
of signals does not come from the process that measures. The bus lets root own the name.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from failover.lab.control import Channel, Helper
from tests.enclosure import CHECKOUT, PATIENCE
from tests.modems.manager import DAEMON, MODEM, MODEM_MANAGER, PROPERTIES, ROOT, SIGNAL, THREE_GPP

OBJECTS = "org.freedesktop.DBus.ObjectManager"
BATCH = 0.005
"""Seconds between the bursts of a flood."""

BURST = 100
"""Signals at most."""

Properties = Mapping[str, Variant]
Interfaces = Mapping[str, Properties]
"""By interface."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, of whatever type."""

    signature: str = ""
    body: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A D-Bus error."""

    name: str = f"{MODEM_MANAGER}.Error.Core.Failed"
    text: str = "it does not work"


NEVER = None
"""No answer."""
Outcome = Reply | Refusal | None


@dataclass(frozen=True, slots=True)
class Call:
    """That came."""

    path: str
    interface: str
    member: str
    body: list[Any]


def modem(number: int = 0, imei: str = "356938035640011", **properties: Variant) -> dict[str, dict[str, Variant]]:
    """The interfaces of one that is connected by 5G. `properties`: others of Modem, or more."""
    own = {
        "State": Variant("i", 11),
        "EquipmentIdentifier": Variant("s", imei),
        "Device": Variant("s", f"/sys/devices/usb1/1-{number + 1}"),
        "Ports": Variant("a(su)", [("cdc-wdm0", 7), ("wwan0", 2)]),
        "PrimaryPort": Variant("s", "cdc-wdm0"),
        "Bearers": Variant("ao", [f"{ROOT}/Bearer/{number}"]),
        "Sim": Variant("o", f"{ROOT}/SIM/{number}"),
        "SimSlots": Variant("ao", []),
        "PrimarySimSlot": Variant("u", 0),
        "SignalQuality": Variant("(ub)", (80, True)),
        "AccessTechnologies": Variant("u", 1 << 15),
        "UnlockRequired": Variant("u", 1),
        "UnlockRetries": Variant("a{uu}", {2: 3}),
    }
    network = {
        "Imei": Variant("s", imei),
        "RegistrationState": Variant("u", 1),
        "OperatorCode": Variant("s", "44051"),
        "OperatorName": Variant("s", "KDDI"),
        "PacketServiceState": Variant("u", 2),
    }
    levels = {name: Variant("d", value) for name, value in (("rsrp", -85.0), ("rsrq", -11.0), ("snr", 12.5))}
    return {
        MODEM: own | properties,
        THREE_GPP: network,
        SIGNAL: {"Lte": Variant("a{sv}", {}), "Nr5g": Variant("a{sv}", levels), "Rate": Variant("u", 5)},
    }


def bearer(interface: str = "wwan0", **properties: Variant) -> dict[str, dict[str, Variant]]:
    """The interfaces of one with a static address."""
    config = {
        "method": Variant("u", 2),
        "address": Variant("s", "10.64.1.2"),
        "prefix": Variant("u", 30),
        "gateway": Variant("s", "10.64.1.1"),
        "mtu": Variant("u", 1430),
    }
    own = {
        "Connected": Variant("b", True),
        "Interface": Variant("s", interface),
        "Ip4Config": Variant("a{sv}", config),
        "Ip6Config": Variant("a{sv}", {"method": Variant("u", 0)}),
    }
    return {f"{MODEM_MANAGER}.Bearer": own | properties}


class Fake:
    """Has the name once it is made. What is under .../Modem/ is listed, anything else only answers."""

    def __init__(self, address: str, objects: Mapping[str, Interfaces] | None = None) -> None:
        self._process = Helper(_Here(), "tests.modems.fake", address)
        self._process.ready()
        for path, interfaces in (objects or {}).items():
            self.add(path, interfaces)
        self.come_back()

    def _ask(self, **order: object) -> Any:
        return self._process.ask({key: _packed(value) for key, value in order.items()}, PATIENCE).get("answer")

    def add(self, path: str, interfaces: Interfaces) -> None:
        """A new object; if it is a modem, everybody is told."""
        self._ask(do="add", path=path, interfaces=interfaces)

    def remove(self, path: str) -> None:
        """It is gone; as add()."""
        self._ask(do="remove", path=path)

    def change(self, path: str, interface: str, **properties: Variant) -> None:
        """They are like that from now on, which everybody is told."""
        self._ask(do="change", path=path, interface=interface, properties=properties)

    def emit(self, path: str, interface: str, member: str, signature: str = "", *body: object) -> None:
        """Any other signal."""
        self._ask(do="emit", path=path, interface=interface, member=member, signature=signature, body=list(body))

    def answer(self, member: str, outcome: Outcome) -> None:
        """So from now on, whichever interface's method it is. Those without an outcome are unknown, but for those of
        the properties and of the object manager."""
        kind = "never" if outcome is NEVER else "reply" if isinstance(outcome, Reply) else "refusal"
        values = {name: getattr(outcome, name) for name in getattr(outcome, "__slots__", ())}
        self._ask(do="answer", member=member, kind=kind, **values)

    def behave(self) -> None:
        """No method has an outcome any more."""
        self._ask(do="behave")

    def calls(self) -> list[Call]:
        """All that came since this was asked last."""
        return [Call(*one) for one in self._ask(do="calls")]

    def flood(self, path: str, seconds: float, per_second: int) -> int:
        """The modem's signal quality changes so often, or as often as the bus can take it. How many signals were sent,
        when all of them are."""
        self.start_flood(path, seconds, per_second)
        return self.flooded()

    def start_flood(self, path: str, seconds: float, per_second: int) -> None:
        """As flood(); nothing else may be asked for until flooded() has told."""
        order = {"do": "flood", "path": path, "seconds": seconds, "per_second": per_second}
        self._process.post(order)

    def flooded(self) -> int:
        return int(self._process.take(PATIENCE + 60.0)["answer"])

    def vanish(self) -> None:
        """Its connection ends, as that of a killed one; its objects are kept."""
        self._ask(do="vanish")

    def come_back(self) -> None:
        """It has the name again, and a new connection."""
        self._ask(do="come_back")

    def hang(self) -> None:
        """Its process is stopped: the bus takes what is said to it, and nothing comes back."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers all that came meanwhile."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.go_on()
        self._process.close()

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Here:
    """No namespace in particular."""

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        return subprocess.Popen(argv, cwd=CHECKOUT, **options)


def _packed(value: object) -> object:
    """As JSON has it."""
    if isinstance(value, Variant):
        return {"variant": [value.signature, _packed(value.value)]}
    if isinstance(value, Mapping):
        return {"mapping": [[_packed(key), _packed(one)] for key, one in value.items()]}
    if isinstance(value, list | tuple):
        return [_packed(one) for one in value]
    return value


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(one) for one in value]
    if isinstance(value, dict):
        if "variant" in value:
            return Variant(value["variant"][0], _unpacked(value["variant"][1]))
        return {_unpacked(key): _unpacked(one) for key, one in value["mapping"]}
    return value


class Service:
    """The process."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel = Channel()
        self._bus: MessageBus | None = None
        self._objects: dict[str, dict[str, dict[str, Variant]]] = {}
        self._outcomes: dict[str, dict[str, Any]] = {}
        self._calls: list[tuple[str, str, str, Any]] = []
        self._jobs: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Until the test's end closes the channel."""
        over = asyncio.Event()

        def control() -> None:
            if not self._channel.serve(self._begin):
                over.set()

        asyncio.get_running_loop().add_reader(self._channel.fileno(), control)
        self._channel.send({"ready": True})
        await over.wait()

    def _begin(self, order: dict[str, Any]) -> None:
        """The answer comes when it is done."""
        order = {key: _unpacked(value) for key, value in order.items()}

        async def work() -> None:
            try:
                answer: dict[str, Any] = {"answer": await getattr(self, order.pop("do"))(**order)}
            except Exception as error:
                answer = {"error": repr(error)}
            self._channel.send(answer)

        job = asyncio.ensure_future(work())
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    # --- orders ------------------------------------------------------------------------------------------------------

    async def add(self, path: str, interfaces: dict[str, dict[str, Variant]]) -> None:
        self._objects[path] = interfaces
        if "/Modem/" in path:
            await self.emit(ROOT, OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, interfaces])

    async def remove(self, path: str) -> None:
        gone = self._objects.pop(path)
        if "/Modem/" in path:
            await self.emit(ROOT, OBJECTS, "InterfacesRemoved", "oas", [path, list(gone)])

    async def change(self, path: str, interface: str, properties: dict[str, Variant]) -> None:
        self._objects[path].setdefault(interface, {}).update(properties)
        await self.emit(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, properties, []])

    async def emit(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        if self._bus is not None:
            await self._bus.send(Message.new_signal(path, interface, member, signature, body))

    async def answer(self, member: str, **outcome: Any) -> None:
        self._outcomes[member] = outcome

    async def behave(self) -> None:
        self._outcomes.clear()

    async def calls(self) -> Any:
        calls, self._calls = self._calls, []
        return calls

    async def flood(self, path: str, seconds: float, per_second: int) -> int:
        """In small bursts, each of which the bus has read before the next one begins, as the library gives up a
        connection whose socket is full; each signal is another value."""
        assert self._bus is not None
        loop = asyncio.get_running_loop()
        began, sent = loop.time(), 0
        while sent < (total := int(seconds * per_second)):
            due = min(total, int((loop.time() - began) * per_second)) - sent
            for _ in range(min(BURST, due)):
                value = {"SignalQuality": Variant("(ub)", [sent % 100, True])}
                await self.emit(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [MODEM, value, []])
                sent += 1
            await self._bus.call(Message(*DAEMON, "GetId"))
            await asyncio.sleep(BATCH)
        return sent

    async def vanish(self) -> None:
        assert self._bus is not None
        self._bus.disconnect()
        await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        self._bus = None

    async def come_back(self) -> None:
        self._bus = await MessageBus(self._address, BusType.SYSTEM).connect()
        self._bus.add_message_handler(self._handle)
        await self._bus.request_name(MODEM_MANAGER)

    # --- calls -------------------------------------------------------------------------------------------------------

    def _handle(self, asked: Message) -> Message | bool | None:
        if asked.message_type is not MessageType.METHOD_CALL:
            return None
        path, interface, member = str(asked.path), str(asked.interface), str(asked.member)
        self._calls.append((path, interface, member, _plain(asked.body)))
        match self._outcomes.get(member):
            case {"kind": "never"}:
                return True  # answered, by nobody
            case {"kind": "refusal", "name": name, "text": text}:
                return Message.new_error(asked, name, text)
            case {"kind": "reply", "signature": signature, "body": body}:
                return Message.new_method_return(asked, signature, body)
        return self._told(asked, path, member)

    def _told(self, asked: Message, path: str, member: str) -> Message:
        found = self._objects.get(path, {})
        match member, asked.body:
            case "GetManagedObjects", _:
                listed = {path: has for path, has in self._objects.items() if "/Modem/" in path}
                return Message.new_method_return(asked, "a{oa{sa{sv}}}", [listed])
            case "GetAll", [interface]:
                return Message.new_method_return(asked, "a{sv}", [found.get(interface, {})])
            case "Get", [interface, name] if name in found.get(interface, {}):
                return Message.new_method_return(asked, "v", [found[interface][name]])
        return Message.new_error(asked, "org.freedesktop.DBus.Error.UnknownMethod", f"no {member} here")


def _plain(value: Any) -> Any:
    """Without variants, as JSON can have it."""
    if isinstance(value, Variant):
        return _plain(value.value)
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool) else repr(value)


if __name__ == "__main__":
    asyncio.run(Service(sys.argv[1]).serve())
