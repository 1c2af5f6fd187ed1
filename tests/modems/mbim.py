"""A simulated MBIM modem (USB-IF MBIM 1.0, Microsoft's extensions): SIM slots, static addresses.

ModemManager speaks to it through the real mbim-proxy.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from uuid import UUID

from failover.model import Family
from tests.modems.carriers import Sim
from tests.modems.modem import Command, Dial, Manner, Modem, Registration, Technology, Terminal
from tests.modems.wire import CLOSE, COMMAND, OPEN, Body, Message, Reader, messages

BASIC = UUID("a289cc33-bcbb-8b4f-b6b0-133ec2aae6df")
SMS = UUID("533fbeeb-14fe-4467-9f90-33a223e56c3f")
EXTENSIONS = UUID("3d01dcc5-fef5-4d05-0d3a-bef7058e9aaf")
ATDS = UUID("5967bdcc-7fd2-49a2-9f5c-b2e70e527db3")
INTEL = UUID("0ed374cb-f835-4474-bc11-3b3fd76f5641")
INTERNET = UUID("7e5e2a7e-4e6f-7272-736b-656e7e5e2a7e")
"""The context type of a bearer."""

CAPS, READY, RADIO, PIN, PIN_LIST, HOME, REGISTER, PACKETS, SIGNAL, CONNECT = 1, 2, 3, 4, 5, 6, 9, 10, 11, 12
CONTEXTS, ADDRESSES, SERVICES, SUBSCRIBE, STATISTICS = 13, 15, 16, 19, 20
SYSTEM_CAPS, CAPS_V2, MAPPINGS, SLOT_INFO = 5, 6, 7, 8
SMS_CONFIGURATION, SMS_READ, SMS_DELETE, SMS_STORE = 1, 2, 4, 5
ATDS_SIGNAL = 1
REBOOT = 1
SUPPORTED = {
    BASIC: (1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 15, 16, 19, 20),
    SMS: (1, 2, 3, 4, 5),
    EXTENSIONS: (5, 6, 7, 8),
    ATDS: (1,),
    INTEL: (1,),
}
NONE, FAILURE, NO_SIM, PIN_REQUIRED, NOT_REGISTERED, UNSUPPORTED = 0, 2, 3, 5, 7, 9
"""Status codes."""
DATA_CLASSES = 0x3F | 0x40
CLASS = {Technology.GPRS: 0x1, Technology.UMTS: 0x4, Technology.HSPA: 0x18, Technology.LTE: 0x20, Technology.NR: 0x40}
REGISTERED = {
    Registration.UNKNOWN: 0,
    Registration.IDLE: 1,
    Registration.SEARCHING: 2,
    Registration.HOME: 3,
    Registration.ROAMING: 4,
    Registration.DENIED: 6,
}
SIM_INITIALIZED, SIM_ABSENT, SIM_STARTING, SIM_LOCKED = 1, 2, 0, 6
SLOT_EMPTY, SLOT_READY, SLOT_ESIM = 3, 5, 7
REBOOTS = 0.1
"""Seconds from the order until it leaves the bus."""
SWITCH = 0.3
"""Seconds for which it has no SIM to speak of after it changed to another slot."""
UNKNOWN_LEVEL = 99

Answer = tuple[int, bytes] | None
"""Status and body; None: never."""
Handler = Callable[["MbimModem", Reader], Answer]


class MbimModem(Modem):
    """`switch_seconds`, `boot_seconds` and `answer_seconds` may be changed."""

    switch_seconds = SWITCH
    answer_seconds = 0.0
    """What it is told to do it does at once, and says so after that."""
    receive_bytes = transmit_bytes = 0
    """What the bearer's statistics say; ModemManager asks every 30 s."""

    # --- the envelope ------------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        self._software_on = True
        self._starting = False
        self._buffer = bytearray()

    def heard(self, terminal: Terminal, data: bytes) -> None:
        self._buffer += data
        for message in messages(self._buffer):
            self._take(terminal, message)

    def _take(self, terminal: Terminal, message: Message) -> None:
        if message.kind in (OPEN, CLOSE):
            if self.failing(Command.EVERYTHING) is None:
                terminal.write(message.done(NONE))
        elif message.kind == COMMAND:
            answer = self._answer(message)
            if answer is not None:
                self._say(terminal, message.answered(*answer))

    def _say(self, terminal: Terminal, answer: bytes) -> None:
        def say() -> None:
            if terminal in self.terminals:
                terminal.write(answer)

        if self.answer_seconds:
            self.hand.later(self.answer_seconds, say)
        else:
            say()

    def _answer(self, message: Message) -> Answer:
        key = (message.service, message.command)
        asked = COMMANDS.get((*key, message.sets), Command.EVERYTHING)
        if asked is Command.CONNECT and not struct.unpack_from("<I", message.body, 4)[0]:
            asked = Command.DISCONNECT
        failing = self.failing(asked)
        if failing is not None:
            manner, cause = failing
            if manner is Manner.IGNORE:
                return None
            return FAILURE, self._connection(cause) if key == (BASIC, CONNECT) else b""
        handler = HANDLERS.get((*key, message.sets)) or HANDLERS.get((*key, False))
        return handler(self, Reader(message.body)) if handler else (UNSUPPORTED, b"")

    def _indicate(self, service: UUID, command: int, body: bytes) -> None:
        if self.failing(Command.EVERYTHING) is None:
            for terminal in self.terminals:
                terminal.write(Message.indication(service, command, body))

    # --- what it says by itself --------------------------------------------------------------------------------------

    def tell_registration(self) -> None:
        self._indicate(BASIC, REGISTER, self._registration())
        self._indicate(BASIC, PACKETS, self._packets())

    def tell_signal(self) -> None:
        self._indicate(BASIC, SIGNAL, self._level())

    def tell_drop(self, cause: int) -> None:
        self._indicate(BASIC, CONNECT, self._connection(cause))

    def tell_message(self, number: int) -> None:
        self._indicate(SMS, SMS_STORE, Body().u32(2, number).bytes())  # a new message, and which

    def tell_sim(self) -> None:
        self._indicate(BASIC, READY, self._ready())

    # --- bodies ------------------------------------------------------------------------------------------------------

    def _ready(self) -> bytes:
        sim = self.sim
        if self._starting or sim is None:
            return Body().u32(SIM_STARTING if sim else SIM_ABSENT).text("", "").u32(0, 0).bytes()
        state = SIM_LOCKED if sim.locked else SIM_INITIALIZED
        imsi = "" if sim.locked else sim.imsi
        return Body().u32(state).text(imsi, sim.iccid).u32(0, 1).reference(Body.string(sim.number)).bytes()

    def _registration(self) -> bytes:
        served, home = self.registration.served and self._usable is not None, self._usable
        carrier = home.carrier if home and served else None
        known = (carrier.plmn, carrier.name) if carrier else ("", "")
        roams = carrier.name if carrier and self.registration is Registration.ROAMING else ""
        state = REGISTERED[self.registration] if home else REGISTERED[Registration.IDLE]
        available = CLASS[self.technology] if served else 0
        return Body().u32(0, state, 1, available, 1).text(*known, roams).u32(2 if served else 0).bytes()

    @property
    def _usable(self) -> Sim | None:
        """With which it can be on the air."""
        return None if self._starting or not self._software_on or self.sim is None or self.sim.locked else self.sim

    def _packets(self) -> bytes:
        attached = self.registration.served and self._usable is not None
        highest = CLASS[self.technology] if attached else 0
        return Body().u32(0, 2 if attached else 4, highest).u64(50_000_000, 100_000_000).bytes()

    def _level(self) -> bytes:
        """RSSI as in 3GPP TS 27.007 8.5, from what LTE measures."""
        rssi = min(31, max(0, round((self.strength.rsrp + 30 + 113) / 2)))
        return Body().u32(rssi, UNKNOWN_LEVEL, 5, 0, 0).bytes()

    def _connection(self, cause: int = 0) -> bytes:
        return Body().u32(0, 1 if self.bearer else 3, 0, self._kind).uuid(INTERNET).u32(cause).bytes()

    _kind = 1
    """IPv4; 2: IPv6, 3: both. As the bearer was asked for."""

    def _connect(self, asked: Reader) -> Answer:
        _, wanted = asked.u32(), asked.u32()
        dial = Dial(asked.text(), asked.text(), asked.text())
        asked.u32(), asked.u32()
        if not wanted:
            self.radio.carry(None)
            return NONE, self._connection()
        self._kind = asked.u32() or 1
        if self.dialled(dial):
            return NONE, self._connection()
        return (NO_SIM if self.sim is None else PIN_REQUIRED if self.sim.locked else NOT_REGISTERED), b""

    def _addresses(self, _: Reader) -> Answer:
        if (line := self.bearer) is None:
            return FAILURE, b""
        families = {Family.IPV4: bool(self._kind & 1), Family.IPV6: bool(self._kind & 2)}

        def raw(addresses: Iterable[str]) -> bytes:
            return b"".join(ip_address(one).packed for one in addresses)

        body = Body().u32(0, *(0xF if on else 0 for on in families.values()))
        for family, on in families.items():
            element = struct.pack("<I", line.prefix[family]) + raw([line.address[family]])
            body.u32(int(on)).offset(element if on else b"")
        for family, on in families.items():
            body.offset(raw([line.gateway[family]]) if on else b"")
        for family, on in families.items():
            body.u32(2 if on else 0).offset(raw(line.resolvers[family]) if on else b"")
        return NONE, body.u32(*(line.mtu if on else 0 for on in families.values())).bytes()

    def _caps(self, _: Reader) -> Answer:
        """Removable SIM, LTE and below, SMS in PDU mode, one session."""
        return NONE, self._capabilities().bytes()

    def _capabilities(self) -> Body:
        return Body().u32(1, 1, 1, 2, DATA_CLASSES, 3, 1, 1).text("", self.imei, "mbim-1.0", "MBIM modem")

    def _caps_v2(self, _: Reader) -> Answer:
        return NONE, self._capabilities().u32(0).bytes()

    def _power(self, asked: Reader) -> Answer:
        """Without a radio there is neither network nor bearer; switched on, it looks for a network anew."""
        on = bool(asked.u32())
        if on != self._software_on:
            self._software_on = on
            self.radio.carry(None)
            if on:
                self.registers()
            self.hand.later(0.0, self.tell_registration)
        return self._powered(asked)

    def _powered(self, _: Reader) -> Answer:
        return NONE, Body().u32(1, int(self._software_on)).bytes()

    def _pin(self, _: Reader) -> Answer:
        sim = self.sim
        if sim is None:
            return NO_SIM, b""
        kind = 2 if sim.retries else 10  # PIN1, PUK1
        return NONE, Body().u32(kind, int(sim.locked), sim.retries if sim.locked else 3).bytes()

    def _enter_pin(self, asked: Reader) -> Answer:
        asked.u32(), asked.u32()
        right = self.entered(asked.text())
        if right:
            self.hand.later(0.0, self.tell_sim)
            self.hand.later(0.0, self.tell_registration)
        return (NONE if right else FAILURE), (self._pin(asked) or (0, b""))[1]

    def _home(self, _: Reader) -> Answer:
        if self.sim is None or self.sim.locked:
            return FAILURE, b""
        carrier = self.sim.carrier
        return NONE, Body().text(carrier.plmn).u32(1).text(carrier.name).u32(0, 0).bytes()

    def _order_registration(self, _: Reader) -> Answer:
        self.registers()
        return NONE, self._registration()

    def _services(self, _: Reader) -> Answer:
        body = Body().u32(len(SUPPORTED), 0)
        for service, commands in SUPPORTED.items():
            element = service.bytes + struct.pack("<III", 0, 0, len(commands))
            body.reference(element + struct.pack(f"<{len(commands)}I", *commands))
        return NONE, body.bytes()

    def _statistics(self, _: Reader) -> Answer:
        received, sent = self.receive_bytes, self.transmit_bytes
        return NONE, Body().u32(0, 0).u64(received, received // 1000, sent, sent // 1000).u32(0, 0).bytes()

    # --- slots -------------------------------------------------------------------------------------------------------

    def _system(self, _: Reader) -> Answer:
        return NONE, Body().u32(1, len(self.sims), 1).u64(1).bytes()

    def _mappings(self, _: Reader) -> Answer:
        return NONE, Body().u32(1).reference(struct.pack("<I", self.slot - 1)).bytes()

    def _switch(self, asked: Reader) -> Answer:
        """The old bearer is gone at once, the new SIM is there after a while."""
        asked.u32()
        offset = asked.u32()
        slot = struct.unpack_from("<I", asked.data, offset)[0] + 1
        if slot != self.slot:
            self.counts.switches += 1
            self.told(Command.SLOT)
            self.radio.carry(None)
            self.slot, self._starting = slot, True
            self.hand.later(self.switch_seconds, self._switched)
        return self._mappings(asked)

    def _switched(self) -> None:
        self._starting = False
        if self.plugged:
            self.tell_sim()
            self.tell_registration()

    def _slot_info(self, asked: Reader) -> Answer:
        number = asked.u32()
        sim = self.sims[number]
        state = SLOT_EMPTY if sim is None or not sim.present else SLOT_ESIM if sim.esim else SLOT_READY
        return NONE, Body().u32(number, state).bytes()

    # --- messages and more -------------------------------------------------------------------------------------------

    def _read(self, asked: Reader) -> Answer:
        _, which, index = asked.u32(), asked.u32(), asked.u32()
        found = {number: part for number, part in self.messages.items() if which == 0 or number == index}
        self.read.update(found)
        body = Body().u32(0, len(found))
        for number, part in found.items():
            body.reference(struct.pack("<IIII", number, 0, 16, len(part)) + part)
        return NONE, body.bytes()

    def _delete(self, asked: Reader) -> Answer:
        if asked.u32():
            self.messages.pop(asked.u32(), None)
        else:
            self.messages.clear()
        return NONE, b""

    def _atds(self, _: Reader) -> Answer:
        """As ModemManager reads them: RSRQ in half dB from -19.5 up, RSRP in dBm from -140 up, SNR in dB from -5 up."""
        level = self.strength
        values = round((level.rsrq + 19.5) * 2), round(level.rsrp + 140), round(level.snr + 5)
        return NONE, Body().u32(UNKNOWN_LEVEL, UNKNOWN_LEVEL, 255, 255, *values).bytes()

    def _reboot(self, _: Reader) -> Answer:
        self.hand.later(REBOOTS, self.reset)
        return NONE, b""


def _says(body: Callable[[MbimModem], bytes]) -> Handler:
    return lambda modem, _: (NONE, body(modem))


HANDLERS: dict[tuple[UUID, int, bool], Handler] = {
    (BASIC, CAPS, False): MbimModem._caps,
    (BASIC, READY, False): _says(MbimModem._ready),
    (BASIC, RADIO, False): MbimModem._powered,
    (BASIC, RADIO, True): MbimModem._power,
    (BASIC, PIN, False): MbimModem._pin,
    (BASIC, PIN, True): MbimModem._enter_pin,
    (BASIC, PIN_LIST, False): lambda modem, _: (NONE, Body().u32(*[0] * 40).bytes()),
    (BASIC, HOME, False): MbimModem._home,
    (BASIC, REGISTER, False): _says(MbimModem._registration),
    (BASIC, REGISTER, True): MbimModem._order_registration,
    (BASIC, PACKETS, False): _says(MbimModem._packets),
    (BASIC, SIGNAL, False): _says(MbimModem._level),
    (BASIC, CONNECT, False): _says(MbimModem._connection),
    (BASIC, CONNECT, True): MbimModem._connect,
    (BASIC, CONTEXTS, False): lambda modem, _: (NONE, Body().u32(0).bytes()),
    (BASIC, ADDRESSES, False): MbimModem._addresses,
    (BASIC, SERVICES, False): MbimModem._services,
    (BASIC, SUBSCRIBE, True): lambda modem, asked: (NONE, asked.data),
    (BASIC, STATISTICS, False): MbimModem._statistics,
    (SMS, SMS_CONFIGURATION, False): lambda modem, _: (NONE, Body().u32(1, 0, 30, 160, 0).text("").bytes()),
    (SMS, SMS_READ, False): MbimModem._read,
    (SMS, SMS_DELETE, True): MbimModem._delete,
    (SMS, SMS_STORE, False): lambda modem, _: (NONE, Body().u32(0, 0).bytes()),
    (EXTENSIONS, SYSTEM_CAPS, False): MbimModem._system,
    (EXTENSIONS, CAPS_V2, False): MbimModem._caps_v2,
    (EXTENSIONS, MAPPINGS, False): MbimModem._mappings,
    (EXTENSIONS, MAPPINGS, True): MbimModem._switch,
    (EXTENSIONS, SLOT_INFO, False): MbimModem._slot_info,
    (ATDS, ATDS_SIGNAL, False): MbimModem._atds,
    (INTEL, REBOOT, True): MbimModem._reboot,
}
"""What is set is answered as what is asked for, where nothing else is said."""
COMMANDS = {
    (BASIC, RADIO, True): Command.POWER,
    (BASIC, PIN, True): Command.PIN,
    (BASIC, REGISTER, True): Command.REGISTER,
    (BASIC, CONNECT, True): Command.CONNECT,
    (BASIC, SIGNAL, False): Command.SIGNAL,
    (EXTENSIONS, MAPPINGS, True): Command.SLOT,
    (INTEL, REBOOT, True): Command.RESET,
}
