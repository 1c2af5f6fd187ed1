"""How a modem that nobody else dials is connected: unlocked, then dialled, ever more slowly while that fails. Whoever
else dials it is reminded when they do not.

Pure. Whether its SIM may be used at all stands in `ties.py`. A PIN that was wrong once is not tried again: after three
wrong ones the SIM is locked for good, and nobody is there to unlock it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Final

from failover.config.changes import dial_changes
from failover.config.modems import Dialer, Roaming
from failover.config.modems import Modem as Choice
from failover.core.ladder import JITTER
from failover.modem import Deed, Dial, IpMethod, Modem, ModemState

GRACE: Final = 10.0
"""Seconds that `connect: auto` leaves to another program to take a modem that has just come."""
REMINDED: Final = 1.0
"""Seconds for which whoever dials may leave alone a modem that could be connected. NetworkManager begins within 0.2 s,
but not at all for some minutes after a connection has failed four times (`autoconnect-retries`)."""
LASTS: Final = 60.0
"""Seconds after which a connection was worth its dialling; one that ends before is a failure like others."""
SEEN: Final = 5.0
"""Seconds in which a modem tells that it is unlocked, and whoever else dials it sends the PIN that they may have."""
RETRY: Final = 2.0
RETRY_MAX: Final = 60.0
"""Seconds between two attempts, at first and at most."""
IDLE: Final = frozenset((ModemState.DISABLED, ModemState.ENABLED, ModemState.REGISTERED))
"""States that a modem stays in until somebody connects it."""
TRIES: Final = 3
"""That a SIM grants for its PIN (3GPP TS 51.011, section 9.3; ETSI TS 102 221)."""


class Dialler:
    """`due` says what to do; `deadline` when to ask again. Times are monotonic seconds."""

    def __init__(self, random: Callable[[], float], pins: set[tuple[str, int, str]] | None = None) -> None:
        """`pins`: (modem, slot, PIN) that were tried and are not known to be right; it adds to them."""
        self.deadline = inf
        self.trouble = ""
        """Why it cannot be connected, with the mend; empty: nothing is known."""
        self.futile = False
        """No step of a repair helps against that."""
        self.outdated: list[str] = []
        """Keys of the config that are others than what it is connected by, which stays so for now."""
        self._random = random
        self._listed_at: float | None = None
        self._idle_since: float | None = None
        """Since when it could be connected, and nobody does it."""
        self._mine = False
        """Nobody else took it: what is to be dialled anew is dialled at once."""
        self._pins = set() if pins is None else pins
        self._asked: Dial | None = None
        """What its connection was asked for by; None: there is none, or nobody knows."""
        self._renewed: Dial | None = None
        """What it was to be dialled anew by, and since then nobody needed it more."""
        self._connected_at: float | None = None
        self._seen_by = -inf
        """When it will have told what came of a PIN."""
        self._failures = 0
        self._after = -inf

    def due(self, now: float, choice: Choice, modem: Modem | None, *, urgent: bool, spare: bool) -> Deed | None:
        """The deed that brings it nearer to a connection; None: none, or not now. `modem`: as it is, with the right
        SIM; `urgent`: that SIM was just chosen, and nobody knows who else has seen that; `spare`: nobody would miss its
        connection for a moment."""
        self.rest()
        if modem is None or modem.bearer or modem.state not in IDLE:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        if modem is None:
            self._listed_at = None
            return None
        if self._listed_at is None:
            self._listed_at = now
        if modem.state is ModemState.LOCKED and choice.connect is not Dialer.NONE:
            self.futile = True
            return self._unlock(now, choice, modem)
        if self._outdates(now, choice, modem, spare=spare):
            return Deed.RECONNECT
        if not self._dials(now, choice, modem):
            self.trouble = self._forsaken(now, choice, modem)
            self.futile = bool(self.trouble)
            return self._remind(now) if urgent and modem.foreign else None
        if modem.bearer is not None:
            self.trouble = _unservable(modem)
            self.futile = bool(self.trouble) and not modem.foreign
            self._connected_at = now if self._connected_at is None else self._connected_at
            self._lasted(now)
            return None
        self._lasted(now)
        self._connected_at = None
        if modem.state in (ModemState.FAILED, ModemState.CONNECTING, ModemState.DISCONNECTING):
            return None
        if now < self._after:
            self.deadline = self._after
            return None
        return Deed.CONNECT

    def rest(self) -> None:
        """There is nothing to do, nor to say."""
        self.deadline, self.trouble, self.futile, self.outdated = inf, "", False, []

    def connected(self, dial: Dial) -> None:
        """It was asked for by that."""
        self._asked = dial

    def acted(self, now: float, deed: Deed, choice: Choice, *, failed: bool) -> None:
        """What came of it."""
        if deed is Deed.UNLOCK:
            self._seen_by = now + SEEN
            if not failed:
                self._pins.discard((choice.key, choice.slot, choice.pin))
        elif deed in (Deed.CONNECT, Deed.RECONNECT):
            wait = pause(self._failures) if failed or self._failures else 0.0
            self._failures += 1
            self._after = now + wait * (1 + JITTER * self._random())

    def renew(self) -> None:
        """Another SIM was chosen: what failed with the one before says nothing of it."""
        self._failures, self._after = 0, -inf

    def serves(self, now: float, choice: Choice, modem: Modem | None) -> bool:
        """Whether what its bearer was given is ours to put to use. `connect: auto` waits as long as with dialling."""
        if modem is None or modem.foreign:
            return False
        late = self._listed_at is not None and now >= self._listed_at + GRACE
        return choice.connect is Dialer.SELF or (choice.connect is Dialer.AUTO and (self._mine or late))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _lasted(self, now: float) -> None:
        if self._connected_at is not None and now >= self._connected_at + LASTS:
            self._failures, self._after = 0, -inf

    def _outdates(self, now: float, choice: Choice, modem: Modem, *, spare: bool) -> bool:
        """Whether its connection, which is ours, is to be made anew as the config says now: once for each thing that it
        says, while it is spare. Of one that was found, the config of that moment is as good as any."""
        if modem.bearer is None or modem.foreign:
            self._asked = None
        elif self.serves(now, choice, modem):
            self._asked = self._asked or choice.dial
            self.outdated = dial_changes(self._asked, choice.dial)
        before, self._renewed = self._renewed, choice.dial if self.outdated and spare else None
        if self._renewed in (None, before):
            return False
        self.outdated = []
        return True

    def _dials(self, now: float, choice: Choice, modem: Modem) -> bool:
        """Whether it is ours to dial."""
        match choice.connect:
            case Dialer.SELF:
                return True
            case Dialer.AUTO if not modem.foreign:
                since = now if self._listed_at is None else self._listed_at
                self._mine = self._mine or (now >= since + GRACE and modem.bearer is None)
                if not self._mine and now < since + GRACE:
                    self.deadline = since + GRACE
                return self._mine
            case Dialer.AUTO:
                self._mine = False
                return False
            case _:
                return False

    def _forsaken(self, now: float, choice: Choice, modem: Modem) -> str:
        """Why nobody dials it."""
        if choice.connect is not Dialer.NETWORKMANAGER or modem.foreign or modem.bearer is not None:
            return ""
        since = now if self._listed_at is None else self._listed_at
        if now >= since + GRACE:
            return "NetworkManager, which is to dial it, does not manage it: does it run, with a connection for it?"
        self.deadline = since + GRACE
        return ""

    def _remind(self, now: float) -> Deed | None:
        due = max(self._idle_since + REMINDED, self._after) if self._idle_since is not None else inf
        if now >= due:
            return Deed.RECONNECT
        self.deadline = due
        return None

    def _unlock(self, now: float, choice: Choice, modem: Modem) -> Deed | None:
        """Whoever else dials may have its PIN, and is waited for."""
        tries = modem.pin_tries
        ours = choice.connect is Dialer.SELF
        due = max(self._seen_by, now if ours or self._listed_at is None else self._listed_at + SEEN)
        if modem.lock != "sim-pin":
            self.trouble = f"its SIM asks for {modem.lock}: unlock it by hand, as with mmcli"
        elif not choice.pin:
            self.trouble = "its SIM is locked: give its 'pin' in the config, or switch the PIN off"
        elif (choice.key, choice.slot, choice.pin) in self._pins:
            self.trouble = "the PIN in the config is wrong, and is not tried again: mend it"
        elif choice.iccid and not (modem.sim and modem.sim.iccid):
            self.trouble = "the PIN is not tried before its modem tells which SIM that is: unlock it by hand"
        elif tries is None:
            self.trouble = "the PIN is not tried, as its modem does not tell how many tries are left: unlock it by hand"
        elif tries < TRIES and not (self._tried(choice) and tries > 1):
            self.trouble = f"the PIN is not tried, as {tries} of {TRIES} tries are left: unlock it once by hand"
        elif now >= due:
            self._pins.add((choice.key, choice.slot, choice.pin))
            return Deed.UNLOCK
        else:
            self.deadline = due
        return None

    def _tried(self, choice: Choice) -> bool:
        """Whether it was we who used up a try."""
        return any((modem, slot) == (choice.key, choice.slot) for modem, slot, _ in self._pins)


def pause(failures: int) -> float:
    """Seconds until the next attempt, after so many failures before the present one."""
    return min(RETRY_MAX, RETRY * 2.0 ** min(failures, 16))


def dial(choice: Choice) -> Dial:
    """What to ask the network for."""
    return replace(choice.dial, roaming=choice.roaming is not Roaming.DENY)


def _unservable(modem: Modem) -> str:
    """Why the connection that there is cannot be put to use here."""
    if modem.foreign:
        return f"{modem.foreign} has this modem, too: have it leave the modem alone, or say 'connect: networkmanager'"
    methods = {one.method for one in modem.bearer.settings} if modem.bearer else set()
    if not methods or IpMethod.STATIC in methods:
        return ""
    named = " and ".join(sorted(methods))
    return f"its bearer wants {named}, which is left to NetworkManager: let that dial it ('connect: networkmanager')"
