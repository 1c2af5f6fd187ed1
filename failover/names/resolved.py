"""systemd-resolved over D-Bus (org.freedesktop.resolve1(5)); for links of systemd-networkd, that, which passes it on.

What lives here: a link's settings read, set and put back. Queries leave by their link, systemd-resolved sees to that.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from failover.bus import Bus, BusError
from failover.model import clean
from failover.names import networkd
from failover.names.backend import NamesError, usable
from failover.names.record import Domain, Note, Notes, Record, Server, State
from failover.resolvers import Resolvers

SERVICE: Final = "org.freedesktop.resolve1"
PATH: Final = "/org/freedesktop/resolve1"
NETWORKD: Final = "org.freedesktop.network1"
EVERY_NAME: Final = Domain(".", True)
"""`~.`: with it, every name is asked on this link alone, whatever is the default (resolved.conf(5), Domains=). VPN
clients and operators give it to links."""
FAMILIES: Final[Mapping[int, int]] = {socket.AF_INET: 4, socket.AF_INET6: 16}
"""Address family -> bytes of an address."""
PASSING, PASSING_STEP = 0.5, 0.01
"""Seconds at most, and between two looks; it takes milliseconds."""
REFUSED: Final = frozenset(
    ("org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired")
)
NOT_THERE: Final = frozenset(("org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner"))
NO_LINK: Final = frozenset((f"{SERVICE}.NoSuchLink", f"{NETWORKD}.NoSuchLink"))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to become of one link."""

    index: int
    interface: str
    current: State
    own: State
    """As it would be but for us."""
    target: State
    lost: bool = False

    @property
    def note(self) -> Note:
        """Once it is done."""
        return Note(self.own, (self.target,))

    @property
    def pending(self) -> Note:
        """Until then: whatever of it is made is ours, and what was ours stays so. What is another's is `own` too."""
        return Note(self.own, (self.target, self.current, *([self.hushed] if self.hushes else [])))

    @property
    def hushes(self) -> bool:
        """Who is asking there now shall hear at once that nobody answers."""
        return self.lost and _is_asked(self.current) and not _is_asked(self.target)

    @property
    def hushed(self) -> State:
        return State((), self.current.domains, False)


class Resolved:
    """Tells systemd-resolved. What was changed is noted in `record`, so that another process can put it back."""

    def __init__(self, record: Path, bus: Bus | None = None, links: Path = networkd.LINKS) -> None:
        """To be made in the running loop. `links`: where systemd-networkd tells of its links."""
        self._record, self._links = Record(record), links
        self._bus = bus or Bus()

    async def told(self, interfaces: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """See Backend."""
        notes = await asyncio.to_thread(self._record.read)
        plans = await self._plans([Resolvers(name) for name in interfaces], notes)
        return {plan.interface: usable(server.address for server in plan.own.servers) for plan in plans}

    async def follow(self, wanted: Sequence[Resolvers]) -> tuple[str, ...]:
        """See Backend. Links that are wanted no more are given back; new ways are opened before old ones are closed."""
        notes = await asyncio.to_thread(self._record.read)
        known = {one.interface for one in wanted}
        left = [name for index in notes if (name := _name(index)) is not None and name not in known]
        plans = await self._plans(sorted(wanted, key=lambda one: not one.families), notes)
        given_back = await self._plans([Resolvers(name) for name in left], notes)
        plans += [replace(plan, target=plan.own) for plan in given_back]
        return await self._carry_out(plans, notes)

    async def restore(self) -> tuple[str, ...]:
        """See Backend."""
        return await self.follow(())

    async def close(self) -> None:
        """See Backend."""
        await self._bus.close()

    async def _plans(self, wanted: Sequence[Resolvers], notes: Notes) -> list[_Plan]:
        """Of those links that there are."""
        found = await asyncio.gather(*(self._plan(one, notes) for one in wanted))
        return [plan for plan in found if plan is not None]

    async def _plan(self, wanted: Resolvers, notes: Notes) -> _Plan | None:
        try:
            index = socket.if_nametoindex(wanted.interface)
            current = await self._read(index)
        except OSError:
            return None
        except BusError as error:
            if error.name in NO_LINK:
                return None
            raise _explained(error) from error
        if index not in notes:
            return _Plan(index, wanted.interface, current, current, _target(wanted, current), wanted.lost)
        if current.default is None and notes[index].made[0].default is False:  # what we said is not to be seen
            current = current._replace(default=False)
        own = notes[index].without_ours(current)
        return _Plan(index, wanted.interface, current, own, _target(wanted, own), wanted.lost)

    async def _carry_out(self, plans: Sequence[_Plan], notes: Notes) -> tuple[str, ...]:
        """Note all of it, do it link by link, and note what came of it; the first error, when all is tried."""
        if all(plan.current == plan.target for plan in plans):
            await self._note(notes, {plan.index: plan.note for plan in plans})
            return ()
        pending = {plan.index: plan.pending for plan in plans}
        await self._note(notes, pending)
        done, errors = dict(pending), []
        for plan in plans:
            try:
                await self._set(plan)
                done[plan.index] = plan.note
            except BusError as error:
                if error.name not in NO_LINK:
                    errors.append(_explained(error))
        await self._note(pending, done)
        if errors:
            raise errors[0]
        return tuple(sentence for plan in plans for sentence in _sentences(plan))

    async def _note(self, noted: Notes, notes: Notes) -> None:
        """Where nothing is ours, nothing is to be remembered."""
        kept = {index: note for index, note in notes.items() if any(made != note.old for made in note.made)}
        if kept != noted:
            await asyncio.to_thread(self._record.write, kept)

    # --- the bus -----------------------------------------------------------------------------------------------------

    async def _read(self, index: int) -> State:
        (path,) = await self._bus.call(SERVICE, PATH, f"{SERVICE}.Manager.GetLink", "i", [index], "o")
        found = await self._bus.get_all(SERVICE, path, f"{SERVICE}.Link")
        try:
            servers = tuple(_server(*entry) for entry in _value(found, "DNSEx", "a(iayqs)"))
            domains = tuple(Domain(name, only) for name, only in _value(found, "Domains", "a(sb)"))
            default = _value(found, "DefaultRoute", "b")
            return State(servers, domains, default if default or servers else None)
        except (KeyError, ValueError) as error:
            raise BusError(f"{SERVICE} tells of a link what is not in its interface: {clean(str(error))}") from error

    async def _set(self, plan: _Plan) -> None:
        """What systemd-networkd was told itself is best known there: an old value set anew would outlive its lease."""
        managed = networkd.is_managed(plan.index, self._links)
        current = plan.current
        if plan.hushes:  # with its last server go the questions under way, which whoever waits asks anew
            await self._change(plan.index, managed, current, plan.hushed)
            current = plan.hushed
        if _goes_back(current, plan) if managed else plan.target == plan.own == State():
            await self._ask(managed, "RevertLinkDNS" if managed else "RevertLink", "i", [plan.index])
            current = plan.own
        await self._change(plan.index, managed, current, plan.target)

    async def _change(self, index: int, managed: bool, current: State, target: State) -> None:
        for member, signature, value in _differences(current, target):
            await self._ask(managed, member, f"i{signature}", [index, value])
        if managed:
            await self._passed_on(index, target)

    async def _passed_on(self, index: int, target: State) -> None:
        """Until systemd-networkd has told systemd-resolved: what is read before would look like somebody else's."""
        deadline = asyncio.get_running_loop().time() + PASSING
        while _is_other(await self._read(index), target) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(PASSING_STEP)

    async def _ask(self, managed: bool, member: str, signature: str, body: Sequence[object]) -> None:
        service = NETWORKD if managed else SERVICE
        await self._bus.call(service, f"/{service.replace('.', '/')}", f"{service}.Manager.{member}", signature, body)


def _target(wanted: Resolvers, own: State) -> State:
    asked = tuple(Server(address) for address in usable(wanted.servers))
    servers = own.servers if asked == () or asked == tuple(Server(server.address) for server in own.servers) else asked
    domains = own.domains if wanted.families else tuple(one for one in own.domains if one != EVERY_NAME)
    return State(servers, domains, bool(wanted.families))


def _goes_back(current: State, plan: _Plan) -> bool:
    fields = zip(current[:2], plan.target[:2], plan.own[:2], strict=True)
    return any(now != target == own for now, target, own in fields)


def _is_other(now: State, target: State) -> bool:
    return now[:2] != target[:2] or _is_asked(now) != _is_asked(target)


def _differences(current: State, target: State) -> Iterator[tuple[str, str, object]]:
    """Method, signature and value. A link has servers before names begin to be asked there, and not without need."""
    default = "SetLinkDefaultRoute", "b", _in_effect(target)
    if current.default != target.default and not _in_effect(target):
        yield default
    if current.servers != target.servers:
        yield "SetLinkDNSEx", "a(iayqs)", [_entry(server) for server in target.servers]
    if current.domains != target.domains:
        yield "SetLinkDomains", "a(sb)", [list(domain) for domain in target.domains]
    if current.default != target.default and _in_effect(target):
        yield default


def _sentences(plan: _Plan) -> Iterator[str]:
    current, target, name = plan.current, plan.target, clean(plan.interface)
    if current.servers != target.servers:
        yield f"name servers of {name}: {', '.join(server.address for server in target.servers) or 'none'}"
    if current.domains != target.domains:
        shown = ("~" * domain.routing_only + clean(domain.name) for domain in target.domains)
        yield f"domains of {name}: {', '.join(shown) or 'none'}"
    if _is_asked(current) != _is_asked(target):
        yield f"names in general are asked over {name}" + ("" if _is_asked(target) else " no more")


def _is_asked(state: State) -> bool:
    """Whether names in general are asked there."""
    return bool(state.servers) and (_in_effect(state) or EVERY_NAME in state.domains)


def _in_effect(state: State) -> bool:
    """What it comes to when nobody has said (dns_scope_is_default_route in resolved-dns-scope.c)."""
    return state.default if state.default is not None else not any(domain.routing_only for domain in state.domains)


def _value(properties: Mapping[str, Any], key: str, signature: str) -> Any:
    """KeyError or ValueError where it is not what it should be."""
    found = properties[key]
    if found.signature != signature:
        raise ValueError(f"{key} is '{found.signature}'")
    return found.value


def _server(family: int, address: bytes, port: int, name: str) -> Server:
    if len(address) != FAMILIES.get(family):
        raise ValueError("an address of no known family")
    return Server(str(ipaddress.ip_address(bytes(address))), port, name)


def _entry(server: Server) -> list[object]:
    address = ipaddress.ip_address(server.address)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return [int(family), address.packed, server.port, server.name]


def _name(index: int) -> str | None:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return None


def _explained(error: BusError) -> NamesError:
    if error.name in REFUSED:
        return NamesError(
            "systemd-resolved does not let the agent set name servers",
            "install polkit, and systemd/failover.rules as systemd/README.md says",
        )
    if error.name in NOT_THERE:
        return NamesError(
            "systemd-resolved is not running", "systemctl enable --now systemd-resolved, or choose another `dns:`"
        )
    return NamesError(str(error), error.hint or "names are asked as before; what does `resolvectl` say?")
