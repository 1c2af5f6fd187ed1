"""A simulated modem that speaks AT commands (3GPP TS 27.007, 27.005) over two serial ports, with one SIM.

ModemManager speaks to it through its Fibocom plugin, and tells to get the address by DHCP.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from failover.model import Family
from tests.modems.modem import Command, Dial, Manner, Modem, Registration, Technology, Terminal
from tests.modems.sms import swapped

STATUS = {
    Registration.IDLE: 0,
    Registration.HOME: 1,
    Registration.SEARCHING: 2,
    Registration.DENIED: 3,
    Registration.UNKNOWN: 4,
    Registration.ROAMING: 5,
}
"""TS 27.007 10.1.22."""
ACCESS = {Technology.GPRS: 0, Technology.UMTS: 2, Technology.HSPA: 6, Technology.LTE: 7, Technology.NR: 11}
"""TS 27.007 7.3."""
AREA, CELL = "1A2B", "01A2D001"
SIM_ABSENT, PUK_WANTED, WRONG_PIN, NO_MESSAGE = 10, 12, 16, 321
"""+CME and +CMS errors."""
REBOOTS = 0.1
"""Seconds from the order until it leaves the bus."""


class RefusedError(Exception):
    """The answer is an error; of that code, or of none."""

    def __init__(self, code: int | None = None) -> None:
        super().__init__(code)
        self.code = code


Handler = Callable[["AtModem", re.Match[str]], str]
"""What it says before OK. RefusedError."""
HANDLERS: list[tuple[re.Pattern[str], Handler, Command]] = []


def on(pattern: str, command: Command = Command.EVERYTHING) -> Callable[[Handler], Handler]:
    """Of commands that match as a whole, without their AT; the first one in this file that does."""

    def add(handler: Handler) -> Handler:
        HANDLERS.append((re.compile(pattern), handler, command))
        return handler

    return add


VOICE_CENTRIC, DATA_CENTRIC = 1, 0
"""Modes of operation for EPS, TS 27.007 8.90: CS/PS mode 1, PS mode 2."""


class AtModem(Modem):
    mode = DATA_CENTRIC
    """Kept over a reset."""

    def power_on(self) -> None:
        self.function = 1
        self.numeric = False
        """Whether the operator is told by its number."""
        self.verbose: dict[str, int] = {}
        """By CREG and its like."""
        self.contexts = {1: ("IP", "")}
        self.context = 1
        """Of the last bearer."""
        self.charset = "IRA"
        self._rest: dict[str, bytes] = {}

    def heard(self, terminal: Terminal, data: bytes) -> None:
        *lines, self._rest[terminal.name] = (self._rest.get(terminal.name, b"") + data).split(b"\r")
        for line in lines:
            text = line.decode("latin-1").strip("\n\0 ")
            if text.upper().startswith("AT"):
                self._answer(terminal, text[2:])

    def _answer(self, terminal: Terminal, text: str) -> None:
        found = ((p.fullmatch(text), handler, command) for p, handler, command in HANDLERS)
        match, handler, command = next((one for one in found if one[0]), (None, None, Command.EVERYTHING))
        failing = self.failing(command)
        if failing is not None and failing[0] is Manner.IGNORE:
            return
        try:
            if handler is None or match is None:
                raise RefusedError
            if failing is not None:
                raise RefusedError(failing[1] or None)
            said = handler(self, match)
        except RefusedError as error:
            code = error.code
            terminal.write(b"\r\nERROR\r\n" if code is None else f"\r\n+CME ERROR: {code}\r\n".encode())
        else:
            terminal.write((f"\r\n{said}\r\n" if said else "").encode() + b"\r\nOK\r\n")

    def _tell(self, text: str) -> None:
        if self.failing(Command.EVERYTHING) is None:
            for terminal in self.terminals:
                terminal.write(f"\r\n{text}\r\n".encode())

    # --- what it says by itself --------------------------------------------------------------------------------------

    def tell_registration(self) -> None:
        for kind in ("C", "CG", "CE"):
            if verbose := self.verbose.get(kind):
                self._tell(f"+{kind}REG: {self.status}{self._cell(kind, verbose)}")

    def tell_signal(self) -> None:
        """ModemManager asks every 30 s; nothing is said unasked."""

    def tell_drop(self, cause: int) -> None:
        self._tell(f"+CGEV: NW PDN DEACT {self.context}")

    def tell_message(self, number: int) -> None:
        self._tell(f'+CMTI: "SM",{number}')

    def tell_sim(self) -> None:
        """Without a SIM there is no registration; that is all that it says."""
        self.registration = Registration.HOME if self.sim else Registration.IDLE
        self.tell_registration()

    # --- what it knows -----------------------------------------------------------------------------------------------

    @property
    def status(self) -> int:
        silent = self.function != 1 or self.sim is None or self.sim.locked
        return STATUS[Registration.IDLE if silent else self.registration]

    def _cell(self, kind: str, verbose: int) -> str:
        if kind == "C" or verbose < 2 or self.status not in (1, 5):
            return ""
        return f',"{AREA}","{CELL}",{ACCESS[self.technology]}'

    @property
    def card(self) -> str:
        """What +CPIN? says."""
        if self.sim is None:
            raise RefusedError(SIM_ABSENT)
        if not self.sim.locked:
            return "READY"
        return "SIM PIN" if self.sim.retries else "SIM PUK"


# --- identity ---


@on(r"|E0|V1|E0V1|X4|&C1|Z|Z E0 V1|\+CMEE=1|\+IFC=1,1|\+CRC=1|\+CMGF=0|H")
@on(r"\+(CNMI|CGEREP|CPLS|CGEQREQ|CGEQMIN|CUSD|CLIP|COLP|CCWA)\b.*")
def _fine(modem: AtModem, asked: re.Match[str]) -> str:
    return ""


def _constant(pattern: str, answer: str) -> None:
    on(pattern)(lambda modem, asked: answer)


_constant(r"\+GCAP", "+GCAP: +CGSM,+CLTE")
_constant(r"I", "Acme\r\nLTE modem\r\nRevision: 1.0")
_constant(r"\+C?GMI", "Acme")
_constant(r"\+C?GMM", "LTE modem")
_constant(r"\+C?GMR", "1.0")
_constant(r"\+WS46=\?", "+WS46: (12,22,25,28)")
_constant(r"\+CLCK=\?", '+CLCK: ("SC","PS","FD")')
_constant(r"\+CLCK=.*", "+CLCK: 0")
_constant(r"\+CSCS=\?", '+CSCS: ("IRA","GSM")')
_constant(r"\+CESQ=\?", "+CESQ: (0-63,99),(0-7,99),(0-96,255),(0-24,255),(0-34,255),(0-97,255)")
_constant(r"\+CMGF=\?", "+CMGF: (0,1)")
_constant(r"\+CNMI=\?", "+CNMI: (0-3),(0-3),(0-3),(0-2),(0,1)")
_constant(r"\+CPMS=\?", '+CPMS: ("SM","ME"),("SM","ME"),("SM","ME")')
_constant(r"\+CGEREP=\?", "+CGEREP: (0-2),(0-1)")
_constant(r"\+GTRNDIS=\?", "+GTRNDIS: (0,1),(1-8)")
_constant(
    r"\+CGDCONT=\?",
    "\r\n".join(f'+CGDCONT: (1-8),"{kind}",,,(0),(0)' for kind in ("IP", "IPV6", "IPV4V6")),
)
HANDLERS.sort(key=lambda one: not one[0].pattern.endswith(r"=\?"))  # before what takes any value


@on(r"\+C?GSN")
def _imei(modem: AtModem, asked: re.Match[str]) -> str:
    return modem.imei


# --- SIM ---


@on(r"\+CPIN\?")
def _lock(modem: AtModem, asked: re.Match[str]) -> str:
    return f"+CPIN: {modem.card}"


@on(r'\+CPIN="?(\d+)"?', Command.PIN)
def _pin(modem: AtModem, asked: re.Match[str]) -> str:
    if not modem.entered(asked[1]):
        raise RefusedError(WRONG_PIN if modem.sim and modem.sim.retries else PUK_WANTED)
    modem.hand.later(0.0, modem.tell_registration)
    return ""


@on(r'\+CSIM=\d+,"002000(\d\d)00"')
def _retries(modem: AtModem, asked: re.Match[str]) -> str:
    """VERIFY without a PIN, ETSI TS 102 221 11.1.9: 63Cx, x tries are left."""
    retries = modem.sim.retries if modem.sim and asked[1] == "01" else 3
    return f'+CSIM: 4,"63C{retries}"'


@on(r"\+CSIM=.*")
def _puk_retries(modem: AtModem, asked: re.Match[str]) -> str:
    return '+CSIM: 4,"63CA"'


@on(r"\+CIMI")
def _imsi(modem: AtModem, asked: re.Match[str]) -> str:
    if modem.sim is None or modem.sim.locked:
        raise RefusedError(SIM_ABSENT)
    return modem.sim.imsi


@on(r"\+CNUM")
def _own_number(modem: AtModem, asked: re.Match[str]) -> str:
    return f'+CNUM: ,"{modem.sim.number if modem.sim else ""}",145'


@on(r"\+CRSM=176,(\d+),0,0,\d+")
def _file(modem: AtModem, asked: re.Match[str]) -> str:
    """EF-ICCID, EF-AD (the MNC has two digits) and EF-SPN, 3GPP TS 31.102 4.2."""
    if modem.sim is None:
        raise RefusedError(SIM_ABSENT)
    files = {
        "12258": swapped(modem.sim.iccid.ljust(20, "F")),
        "28589": bytes.fromhex("00000002"),
        "28486": b"\0" + modem.sim.carrier.name.encode().ljust(16, b"\xff"),
    }
    if asked[1] not in files:
        raise RefusedError
    return f'+CRSM: 144,0,"{files[asked[1]].hex().upper()}"'


# --- network ---


@on(r"\+CFUN\?")
def _function(modem: AtModem, asked: re.Match[str]) -> str:
    return f"+CFUN: {modem.function}"


@on(r"\+CFUN=(15|\d,1)(,1)?|#REBOOT", Command.RESET)
def _reset(modem: AtModem, asked: re.Match[str]) -> str:
    modem.hand.later(REBOOTS, modem.reset)
    return ""


@on(r"\+CFUN=(\d)", Command.POWER)
def _set_function(modem: AtModem, asked: re.Match[str]) -> str:
    """Without a radio (4) there is neither network nor bearer; switched on, it looks for a network anew."""
    before, modem.function = modem.function, int(asked[1])
    if modem.function != before:
        modem.radio.carry(None)
        if modem.function == 1:
            modem.registers()
        modem.hand.later(0.0, modem.tell_registration)
    return ""


@on(r"\+(C|CG|CE)REG\?")
def _registered(modem: AtModem, asked: re.Match[str]) -> str:
    verbose = modem.verbose.get(asked[1], 0)
    return f"+{asked[1]}REG: {verbose},{modem.status}{modem._cell(asked[1], verbose)}"


@on(r"\+(C|CG|CE)REG=(\d)")
def _report_registration(modem: AtModem, asked: re.Match[str]) -> str:
    modem.verbose[asked[1]] = int(asked[2])
    return ""


@on(r"\+COPS=3,(\d)(;\+COPS\?)?")
def _operator_form(modem: AtModem, asked: re.Match[str]) -> str:
    modem.numeric = asked[1] == "2"
    return _operator(modem, asked) if asked[2] else ""


@on(r"\+COPS\?")
def _operator(modem: AtModem, asked: re.Match[str]) -> str:
    if modem.sim is None or modem.status not in (1, 5):
        return "+COPS: 0"
    carrier = modem.sim.carrier
    form, name = (2, carrier.plmn) if modem.numeric else (0, carrier.name)
    return f'+COPS: 0,{form},"{name}",{ACCESS[modem.technology]}'


@on(r"\+COPS=(0|1,2,.*)", Command.REGISTER)
def _order_registration(modem: AtModem, asked: re.Match[str]) -> str:
    modem.registers()
    return ""


@on(r"\+CEMODE\?")
def _mode(modem: AtModem, asked: re.Match[str]) -> str:
    return f"+CEMODE: {modem.mode}"


@on(r"\+CEMODE=(\d)")
def _set_mode(modem: AtModem, asked: re.Match[str]) -> str:
    modem.mode = int(asked[1])
    return ""


@on(r"\+CSQ", Command.SIGNAL)
def _level(modem: AtModem, asked: re.Match[str]) -> str:
    """TS 27.007 8.5, of the RSSI that LTE makes of that RSRP."""
    return f"+CSQ: {min(31, max(0, round((modem.strength.rsrp + 30 + 113) / 2)))},99"


@on(r"\+CESQ", Command.SIGNAL)
def _strength(modem: AtModem, asked: re.Match[str]) -> str:
    """TS 27.007 8.69."""
    rsrq, rsrp = round((modem.strength.rsrq + 20) * 2), round(modem.strength.rsrp + 141)
    return f"+CESQ: 99,99,255,255,{rsrq},{rsrp}"


# --- bearer ---


@on(r"\+CGDCONT\?")
def _contexts(modem: AtModem, asked: re.Match[str]) -> str:
    return "\r\n".join(f'+CGDCONT: {n},"{kind}","{apn}","",0,0' for n, (kind, apn) in sorted(modem.contexts.items()))


@on(r'\+CGDCONT=(\d+)(?:,"([^"]*)"(?:,"([^"]*)")?)?.*')
def _set_context(modem: AtModem, asked: re.Match[str]) -> str:
    if asked[2] is None:
        modem.contexts.pop(int(asked[1]), None)
    else:
        modem.contexts[int(asked[1])] = (asked[2], asked[3] or "")
    return ""


@on(r"\+CGACT\?")
def _active(modem: AtModem, asked: re.Match[str]) -> str:
    active = modem.context if modem.bearer else 0
    return "\r\n".join(f"+CGACT: {n},{int(n == active)}" for n in sorted(modem.contexts))


@on(r"\+(GTRNDIS|CGACT)=1,(\d+)", Command.CONNECT)
def _connect(modem: AtModem, asked: re.Match[str]) -> str:
    modem.context = int(asked[2])
    if not modem.dialled(Dial(modem.contexts.get(modem.context, ("", ""))[1])):
        raise RefusedError
    return ""


@on(r"\+(GTRNDIS|CGACT)=0(,\d+)?", Command.DISCONNECT)
def _disconnect(modem: AtModem, asked: re.Match[str]) -> str:
    modem.radio.carry(None)
    return ""


@on(r"\+GTRNDIS\?")
def _link(modem: AtModem, asked: re.Match[str]) -> str:
    if (line := modem.bearer) is None:
        return "+GTRNDIS: 0"
    own, gateway = line.address[Family.IPV4], line.gateway[Family.IPV4]
    return f'+GTRNDIS: 1,{modem.context},"{own}","{gateway}","{gateway}"'


# --- messages ---


@on(r'\+CSCS=("?)(\w+)\1')
def _set_charset(modem: AtModem, asked: re.Match[str]) -> str:
    modem.charset = asked[2]
    return ""


@on(r"\+CSCS\?")
def _charset(modem: AtModem, asked: re.Match[str]) -> str:
    return f'+CSCS: "{modem.charset}"'


@on(r"\+CPMS(\?|=.*)")
def _stores(modem: AtModem, asked: re.Match[str]) -> str:
    used = f"{len(modem.messages)},20"
    return "+CPMS: " + ",".join([f'"SM",{used}' if asked[1] == "?" else used] * 3)


def _stored(part: bytes) -> str:
    """The length is without the service centre's address."""
    return f"{len(part) - 1 - part[0]}\r\n{part.hex().upper()}"


@on(r"\+CMGL=.*")
def _list(modem: AtModem, asked: re.Match[str]) -> str:
    modem.read.update(modem.messages)
    return "\r\n".join(f"+CMGL: {number},0,,{_stored(part)}" for number, part in modem.messages.items())


@on(r"\+CMGR=(\d+)")
def _read(modem: AtModem, asked: re.Match[str]) -> str:
    part = modem.messages.get(int(asked[1]))
    if part is None:
        raise RefusedError(NO_MESSAGE)
    modem.read.add(int(asked[1]))
    return f"+CMGR: 0,,{_stored(part)}"


@on(r"\+CMGD=(\d+).*")
def _delete(modem: AtModem, asked: re.Match[str]) -> str:
    modem.messages.pop(int(asked[1]), None)
    return ""
