"""Our MPTCP endpoints among all, and the limits that we raised. The kernel cannot tag them: a state file tells of them.

What lives here: keeping what is wanted, noting it before the change, and putting back what was there. Which addresses
are wanted is not known here.

Ours are bound to no interface: each leaves by the route of its address. NetworkManager takes any other one on its
interfaces for its own, and deletes it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from failover.facts import Endpoint, EndpointFlag, SubflowLimits, Verb
from failover.kernel.mptcp import PathManager
from failover.model import KernelError
from failover.notes import Notes

NOTES: Final = "mptcp.json"
"""Its name, beside the control socket."""
SOURCES: Final = EndpointFlag.SUBFLOW | EndpointFlag.IMPLICIT
"""Connections have subflows from such ones."""


@dataclass(frozen=True, slots=True)
class Noted:
    """What of MPTCP is ours."""

    addresses: frozenset[str] = frozenset()
    """That we made endpoints."""
    limits: tuple[SubflowLimits, SubflowLimits] | None = None
    """What they were, and what we made of them."""

    def owns(self, one: Endpoint) -> bool:
        """Whether it is of the kind that we make, and its address one that we noted."""
        kind = replace(one, flags=one.flags & ~EndpointFlag.BACKUP, id=0)
        return one.address in self.addresses and kind == Endpoint(one.address)

    def old(self, now: SubflowLimits) -> SubflowLimits:
        """What the limits are without us: each as it was if it still is what we made of it, else as it is."""
        if self.limits is None:
            return now
        return _each(lambda old, new, now: old if now == new else now, *self.limits, now)


@dataclass(frozen=True, slots=True)
class Done:
    """A change, and what came of it."""

    verb: Verb
    item: Endpoint | SubflowLimits
    error: str | None = None
    """None when done; else why not."""


class Endpoints:
    """What the kernel refuses is told; KernelError where it does not tell, or the file is corrupt or unusable."""

    def __init__(self, manager: PathManager, path: Path) -> None:
        self._manager = manager
        left = "the endpoints and limits of MPTCP are left as they are"
        self._notes = Notes(path, KernelError, left, "the endpoints and limits that it told of stay as they are")

    def keep(self, wanted: Mapping[str, bool], room: SubflowLimits) -> list[Done]:
        """Make exactly these addresses our endpoints, those that map to True as backups, and the limits no smaller than
        `room`: what was done, in this order: limits, additions, changes, deletions.

        An address that somebody else has made an endpoint counts, and stays as it is.
        """
        before, present, now = self.noted(), self._manager.endpoints(), self._manager.limits()
        taken = {one.address for one in present if not one.port and not one.flags & EndpointFlag.IMPLICIT}
        more = [_made(address, backup) for address, backup in wanted.items() if address not in taken]
        raised = _each(max, now, room)
        limits = (before.old(now), raised) if raised != now else before.limits
        noted = Noted(before.addresses | {one.address for one in more}, limits)
        self._note(before, noted)
        mine = [one for one in present if noted.owns(one)]
        done = [_tried(Verb.SET, raised, partial(self._manager.set_limits, raised))] if raised != now else []
        done += [_tried(Verb.ADD, one, partial(self._manager.add, one)) for one in more]
        done += [self._marked(one, wanted[one.address]) for one in mine if _differs(one, wanted)]
        return done + self._delete(noted, [one for one in mine if one.address not in wanted])

    def withdraw(self, addresses: Collection[str]) -> list[Done]:
        """Close all subflows from these addresses, and tell their peers: our endpoints are deleted, those of others
        renewed. Takes 5-30 ms for each, not on an event loop: see PathManager.delete()."""
        noted = self.noted()
        present = [one for one in self._manager.endpoints() if one.address in addresses]
        mine = [one for one in present if noted.owns(one)]
        his = [one for one in present if one not in mine and one.flags & SOURCES]
        renewed = [_tried(Verb.REPLACE, one, partial(self._manager.renew, one)) for one in his]
        return self._delete(noted, mine) + renewed

    def restore(self) -> Iterator[Done]:
        """Delete what is ours, and give each limit that still is as we made it its old value."""
        noted = self.noted()
        yield from self._delete(noted, [one for one in self._manager.endpoints() if noted.owns(one)])
        if noted.limits is None:
            return
        now = self._manager.limits()
        old = noted.old(now)
        done = [_tried(Verb.SET, old, partial(self._manager.set_limits, old))] if old != now else []
        yield from done
        if not any(one.error for one in done):
            left = self.noted()
            self._note(left, replace(left, limits=None))

    def noted(self) -> Noted:
        """What was noted since the machine started."""
        return self._notes.read(_parsed, Noted())

    def _note(self, before: Noted, after: Noted) -> None:
        """On disk, if it is news."""
        if after == Noted():
            self._notes.write(None)
        elif after != before:
            self._notes.write(_tree(after))

    def _marked(self, one: Endpoint, backup: bool) -> Done:
        return _tried(Verb.REPLACE, _made(one.address, backup), partial(self._manager.mark, one, backup))

    def _delete(self, noted: Noted, mine: list[Endpoint]) -> list[Done]:
        """And forget those that are gone: who adds such a one from now on is its owner."""
        done = [_tried(Verb.DELETE, one, partial(self._manager.delete, one)) for one in mine]
        left = {one.address for one in self._manager.endpoints() if noted.owns(one)}
        self._note(noted, replace(noted, addresses=frozenset(left)))
        return done


def _made(address: str, backup: bool) -> Endpoint:
    return Endpoint(address, EndpointFlag.SUBFLOW | EndpointFlag.BACKUP if backup else EndpointFlag.SUBFLOW)


def _differs(one: Endpoint, wanted: Mapping[str, bool]) -> bool:
    return one.address in wanted and wanted[one.address] != bool(one.flags & EndpointFlag.BACKUP)


def _each(choice: Callable[..., int], *limits: SubflowLimits) -> SubflowLimits:
    return SubflowLimits(*map(choice, *map(astuple, limits)))


def _tried(verb: Verb, item: Endpoint | SubflowLimits, step: Callable[[], object]) -> Done:
    try:
        step()
    except KernelError as error:
        return Done(verb, item, "; ".join(filter(None, (str(error), error.hint))))
    return Done(verb, item)


def _tree(noted: Noted) -> dict[str, object]:
    limits = [astuple(one) for one in noted.limits] if noted.limits else None
    return {"endpoints": sorted(noted.addresses), "limits": limits}


def _parsed(tree: Mapping[str, Any]) -> Noted:
    """Of what `_tree` makes."""
    addresses, limits = tree["endpoints"], tree["limits"]
    if not all(isinstance(address, str) for address in addresses):
        raise TypeError("an address that is no text")
    if limits is None:
        return Noted(frozenset(addresses))
    old, new = limits
    return Noted(frozenset(addresses), (_limits(*old), _limits(*new)))


def _limits(subflows: int, add_addr_accepted: int) -> SubflowLimits:
    if not all(type(number) is int and number in range(256) for number in (subflows, add_addr_accepted)):
        raise ValueError("not a limit")
    return SubflowLimits(subflows, add_addr_accepted)
