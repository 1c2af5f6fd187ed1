"""ModemManager's objects and those of their properties that we read, as it told them. Pure, and bounded.

What is not in `KEPT`, or not of the type that is said there, is not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from failover.modems.numbers import BEARER, MESSAGING, MODEM, SIGNAL, SIM, THREE_GPP
from failover.modems.values import told

KEPT: Final[Mapping[str, Mapping[str, str]]] = {
    MODEM: {
        "AccessTechnologies": "u",
        "Bearers": "ao",
        "Device": "s",
        "EquipmentIdentifier": "s",
        "Manufacturer": "s",
        "Model": "s",
        "Physdev": "s",
        "Ports": "a(su)",
        "PrimarySimSlot": "u",
        "Revision": "s",
        "Sim": "o",
        "SimSlots": "ao",
        "State": "i",
        "StateFailedReason": "u",
        "UnlockRequired": "u",
        "UnlockRetries": "a{uu}",
    },
    THREE_GPP: {
        "EpsUeModeOperation": "u",
        "Imei": "s",
        "OperatorCode": "s",
        "OperatorName": "s",
        "PacketServiceState": "u",
        "RegistrationState": "u",
    },
    SIGNAL: {"Lte": "a{sv}", "Nr5g": "a{sv}", "Rate": "u"},
    MESSAGING: {"Messages": "ao"},
    BEARER: {
        "Connected": "b",
        "ConnectionError": "(ss)",
        "Interface": "s",
        "Ip4Config": "a{sv}",
        "Ip6Config": "a{sv}",
        "Stats": "a{sv}",
    },
    SIM: {
        "OperatorIdentifier": "s",
        "OperatorName": "s",
        "SimIdentifier": "s",
        "SimType": "u",
    },
}
"""Interface -> property -> its D-Bus type."""
OBJECTS: Final = 2048
"""At most; what comes after them is not seen."""
NONE: Final[Mapping[str, Any]] = MappingProxyType({})

Told = Mapping[str, Mapping[str, object]]
"""Interface -> property -> a value with its signature."""


class Tree:
    """Path -> interface -> property -> value."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[str, dict[str, Any]]] = {}

    def of(self, path: str, interface: str) -> Mapping[str, Any]:
        """The properties; each is of the type that KEPT says."""
        return self._objects.get(path, {}).get(interface, NONE)

    def has(self, path: str, interface: str) -> bool:
        """It was told, if with nothing that is kept."""
        return interface in self._objects.get(path, {})

    def holding(self, interface: str) -> list[str]:
        """The paths of the objects that have it, the oldest number first."""
        return sorted((path for path in self._objects if self.has(path, interface)), key=lambda path: (len(path), path))

    def replace(self, objects: Mapping[str, Told]) -> None:
        """These and no others."""
        self._objects.clear()
        for path, interfaces in objects.items():
            self.add(path, interfaces)

    def add(self, path: str, interfaces: Told) -> None:
        """These interfaces of an object, whole."""
        if path not in self._objects and len(self._objects) >= OBJECTS:
            return
        for interface in KEPT.keys() & interfaces.keys():
            self._objects.setdefault(path, {})[interface] = _kept(interface, interfaces[interface])

    def change(self, path: str, interface: str, changed: Mapping[str, object], lost: Iterable[str] = ()) -> bool:
        """Some properties of it; `lost` are those that are not known any more. Whether it was known."""
        if not self.has(path, interface):
            return False
        properties = self._objects[path][interface]
        for name in (*changed, *lost):
            properties.pop(name, None)
        properties.update(_kept(interface, changed))
        return True

    def remove(self, path: str, interfaces: Iterable[str]) -> None:
        """An object without interfaces is gone."""
        found = self._objects.get(path, {})
        for interface in interfaces:
            found.pop(interface, None)
        if not found:
            self._objects.pop(path, None)

    def prune(self, interface: str, wanted: set[str]) -> None:
        """Let go of that interface at all paths but these."""
        for path in set(self.holding(interface)) - wanted:
            self.remove(path, [interface])

    def clear(self) -> None:
        """Nothing is known."""
        self._objects.clear()


def _kept(interface: str, properties: Mapping[str, object]) -> dict[str, Any]:
    types = KEPT[interface]
    found = {name: told(properties[name], types[name]) for name in types.keys() & properties.keys()}
    return {name: value for name, value in found.items() if value is not None}
