"""Reading what strangers send: tables, and fuzzing. No sockets here."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import socket
import struct
import time

import dns.message
import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failover.model import Family, ProbeKind, Target, is_private
from failover.probes import bound, errors, http, packets, tcp
from failover.probes import dns as probe_dns
from failover.probes.attempt import UnansweredError
from failover.probes.resolve import is_public, read_resolv_conf

from .ground import AF, ALIVE, GATEWAY, VAN
from .peers import icmp

families = st.sampled_from(list(Family))
unhurried = settings(deadline=None)
words = st.integers(0, 0xFFFF)
VAN0, GATEWAY0 = VAN["wan0"], GATEWAY["wan0"]


def packed(family: Family, address: str) -> bytes:
    return socket.inet_pton(AF[family], address)


def read(family: Family, packet: bytes) -> packets.Reply | packets.Refusal | packets.Undelivered | None:
    """As the socket of that family would hand it over."""
    return packets.read4(packet) if family is Family.IPV4 else packets.read6(packet[40:], packet[8:24])


def request_packet(family: Family, ident: int, sequence: int) -> bytes:
    echo = packets.echo_request(family, ident, sequence)
    return icmp(family, VAN0[family], ALIVE[family], echo[:2] + bytes(2) + echo[4:])


@unhurried
@given(st.binary(max_size=200))
def test_reading_noise_never_raises(data: bytes) -> None:
    for family in Family:
        assert packets.read6(data, bytes(16)) is None or len(data) >= packets.ECHO_BYTES
        assert packets.read4(data) is None or len(data) >= 28
        own = bytes(4 if family is Family.IPV4 else 16)
        assert errors.read_refusal(family, data, own) is None or len(data) >= 24
    assert (tcp.read_info(data) is None) == (len(data) < 208)


@unhurried
@given(families, words, words)
def test_a_request_is_eight_bytes_and_rightly_summed(family: Family, ident: int, sequence: int) -> None:
    request = packets.echo_request(family, ident, sequence)
    assert len(request) == packets.ECHO_BYTES
    assert struct.unpack_from("!HH", request, 4) == (ident, sequence)
    assert family is Family.IPV6 or packets.checksum(request) == 0


@unhurried
@given(families, words, words)
def test_a_reply_is_read_as_it_was_written(family: Family, ident: int, sequence: int) -> None:
    message = struct.pack("!BBHHH", packets.REPLY[family], 0, 0, ident, sequence)
    packet = icmp(family, ALIVE[family], VAN0[family], message)
    assert read(family, packet) == packets.Reply(packed(family, ALIVE[family]), ident, sequence, len(packet))


@unhurried
@given(families, words, words, st.integers(0, 15), st.integers(8, 60))
def test_a_refusal_is_read_as_it_was_written(family: Family, ident: int, sequence: int, code: int, quoted: int) -> None:
    quote = request_packet(family, ident, sequence)[: packets.IP_HEADER[family] + quoted]
    message = bytes((packets.UNREACHABLE[family], code)) + bytes(6) + quote
    packet = icmp(family, GATEWAY0[family], VAN0[family], message)
    expected = packets.Refusal(
        packed(family, GATEWAY0[family]), packed(family, ALIVE[family]), ident, sequence, code, len(packet)
    )
    assert read(family, packet) == (None if family is Family.IPV4 and code == 4 else expected)


@unhurried
@given(families, st.binary(min_size=1, max_size=3), st.data())
def test_a_bent_refusal_never_raises(family: Family, noise: bytes, data: st.DataObject) -> None:
    message = bytes((packets.UNREACHABLE[family], 1)) + bytes(6) + request_packet(family, 7, 8)
    packet = icmp(family, GATEWAY0[family], VAN0[family], message)
    at = data.draw(st.integers(0, len(packet)))
    bent = packet[:at] + noise + packet[at + data.draw(st.integers(0, 3)) :]
    found = read(family, bent)
    assert found is None or isinstance(found, packets.Refusal | packets.Reply)


@pytest.mark.parametrize("family", list(Family))
def test_our_own_kernels_unreachable_is_no_refusal(family: Family) -> None:
    host, other = (1, 13) if family is Family.IPV4 else (3, 1)

    def said(sender: str, code: int) -> object:
        message = bytes((packets.UNREACHABLE[family], code)) + bytes(6) + request_packet(family, 7, 8)
        return read(family, icmp(family, sender, VAN0[family], message))

    assert said(VAN0[family], host) == packets.Undelivered(packed(family, ALIVE[family]), 7, 8)
    assert said(VAN0[family], other) is None
    assert isinstance(said(GATEWAY0[family], host), packets.Refusal)


@pytest.mark.parametrize("family", list(Family))
def test_every_unreachable_code_has_words(family: Family) -> None:
    for code in range(256):
        said = packets.unreachable_words(family, code)
        assert said != ""
        assert (said is None) == (family is Family.IPV4 and code == 4)


def queued(family: Family, origin: int, kind: int, code: int, offender: str) -> bytes:
    """sock_extended_err and its sockaddr."""
    head = struct.pack("=IBBBxII", errno.EHOSTUNREACH, origin, kind, code, 0, 0)
    address = packed(family, offender)
    return head + struct.pack("=HH", AF[family], 0) + (bytes(4) if family is Family.IPV6 else b"") + address + bytes(8)


@pytest.mark.parametrize(
    ("family", "origin", "kind", "code", "offender", "said"),
    [
        (Family.IPV4, 2, 3, 13, "192.0.2.1", "administratively prohibited, says 192.0.2.1"),
        (Family.IPV6, 3, 1, 6, "2001:db8::1", "route rejected, says 2001:db8::1"),
        (Family.IPV4, 2, 3, 1, "192.0.2.2", None),
        (Family.IPV6, 3, 1, 3, "2001:db8::2", None),
        (Family.IPV4, 1, 3, 13, "192.0.2.1", None),
        (Family.IPV4, 2, 11, 0, "192.0.2.1", None),
        (Family.IPV4, 2, 3, 4, "192.0.2.1", None),
        (Family.IPV6, 3, 2, 0, "2001:db8::1", None),
    ],
)
def test_the_error_queue(family: Family, origin: int, kind: int, code: int, offender: str, said: str | None) -> None:
    own = packed(family, "192.0.2.2" if family is Family.IPV4 else "2001:db8::2")
    data = queued(family, origin, kind, code, offender)
    assert errors.read_refusal(family, data, own) == said
    for cut in range(20 if family is Family.IPV4 else 40):
        assert errors.read_refusal(family, data[:cut], own) is None


@pytest.mark.parametrize(
    ("elapsed", "lag", "rtt"),
    [(0.2, 0.0, 0.2), (0.2, 0.15, 0.05), (0.2, -63072000.0, 0.2), (0.2, 63072000.0, 0.2), (0.2, 0.2, 0.0)],
)
def test_a_step_of_the_clock_is_no_waiting_time(elapsed: float, lag: float, rtt: float) -> None:
    assert bound.true_rtt(elapsed, lag) == pytest.approx(rtt)


@pytest.mark.parametrize(("level", "kind", "size"), [(1, 35, 8), (1, 29, 16), (0, 35, 16)])
def test_ancillary_data_without_a_stamp_says_no_lag(level: int, kind: int, size: int) -> None:
    assert bound.receive_lag([(level, kind, bytes(size))]) == 0.0
    assert bound.receive_lag([(1, 35, bytes(16))]) > 1e9


@unhurried
@given(st.binary(max_size=600), families)
def test_noise_is_no_dns_reply(data: bytes, family: Family) -> None:
    asked = probe_dns.question("example.com", family, 0x1234)
    assert probe_dns.read_reply(asked, data) is None
    assert probe_dns.read_reply(asked, b"\x12\x34" + data) is None or len(data) > 9


@unhurried
@given(families, st.data())
def test_a_bent_dns_reply_never_raises(family: Family, data: st.DataObject) -> None:
    asked = probe_dns.question("example.com", family, 0x1234)
    message = dns.message.make_response(asked)
    address = ALIVE[family]
    message.answer.append(dns.rrset.from_text("example.com.", 1, "IN", asked.question[0].rdtype, address))
    wire = bytearray(message.to_wire())
    assert probe_dns.read_reply(asked, bytes(wire)) == probe_dns.Reply("NOERROR", (address,))
    for _ in range(data.draw(st.integers(1, 6))):
        wire[data.draw(st.integers(2, len(wire) - 1))] = data.draw(st.integers(0, 255))
    reply = probe_dns.read_reply(asked, bytes(wire))
    assert reply is None or isinstance(reply.rcode, str)


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("whole", [True, False])
def test_a_dns_reply_full_of_long_names_is_read_at_once(family: Family, whole: bool) -> None:
    asked = probe_dns.question("example.com", family, 0x1234)
    question = asked.to_wire()[12:]
    pointer = struct.pack("!H", 0xC000 | 12 + len(question))
    records = [b"\x01a" * 126 + b"\0" + struct.pack("!HHIH", 5, 1, 1, 2) + pointer]
    records += [pointer + struct.pack("!HHIH", 2, 1, 1, 2) + struct.pack("!H", 0xC01D + 2 * i) for i in range(120)] * 2
    head = struct.pack("!HHHHHH", 0x1234, 0x8180, 1, len(records) + (not whole), 0, 0)
    began = time.process_time()
    reply = probe_dns.read_reply(asked, head + question + b"".join(records))
    assert time.process_time() - began < 0.05
    assert reply == (probe_dns.Reply("NOERROR", ()) if whole else None)


def test_the_question_of_a_dns_reply_is_ours_or_left_out_by_a_refusal() -> None:
    asked, other = (probe_dns.question(name, Family.IPV4, 0x1234) for name in ("example.com", "example.org"))
    for question, rcode, read in (
        (asked.to_wire()[12:].upper(), 0, "NOERROR"),
        (b"", 2, "SERVFAIL"),
        (b"", 3, None),
        (b"", 0, None),
        (other.to_wire()[12:], 0, None),
        (other.to_wire()[12:], 5, None),
    ):
        wire = struct.pack("!HHHHHH", 0x1234, 0x8180 | rcode, bool(question), 0, 0, 0) + question
        reply = probe_dns.read_reply(asked, wire)
        assert (reply and reply.rcode) == read


@pytest.mark.parametrize("name", ["a" * 64 + ".example.com", ".".join(["a" * 60] * 5), "a..b"])
def test_what_cannot_be_a_name_is_our_own_fault(name: str) -> None:
    with pytest.raises(OSError, match="not a DNS name") as raised:
        probe_dns.question(name, Family.IPV4, 1)
    assert raised.value.errno == errno.EINVAL


@unhurried
@given(st.lists(st.binary(min_size=1, max_size=100), max_size=20))
def test_noise_is_no_status(chunks: list[bytes]) -> None:
    connection = h11.Connection(h11.CLIENT)
    http.request(connection, PAGE)
    with contextlib.suppress(UnansweredError):
        for chunk in [*chunks, b""]:
            assert http.read_status(connection, chunk) is None


PAGE = Target(ProbeKind.HTTP, "example.com", 80, "/generate_204")


@unhurried
@given(st.integers(1, 60), st.sampled_from([200, 204, 302, 511]))
def test_a_status_is_found_however_it_is_cut(size: int, status: int) -> None:
    answer = f"HTTP/1.1 {status} Words\r\nLocation: /a\r\n\r\n".encode()
    connection = h11.Connection(h11.CLIENT)
    http.request(connection, PAGE)
    pieces = [answer[start : start + size] for start in range(0, len(answer), size)]
    found = [http.read_status(connection, piece) for piece in pieces]
    assert found == [None] * (len(pieces) - 1) + [(status, "/a")]


@pytest.mark.parametrize(
    ("kind", "host", "port", "header"),
    [
        (ProbeKind.HTTP, "example.com", 80, "example.com"),
        (ProbeKind.HTTP, "example.com", 443, "example.com:443"),
        (ProbeKind.HTTPS, "example.com", 443, "example.com"),
        (ProbeKind.HTTPS, "2001:db8::1", 8443, "[2001:db8::1]:8443"),
        (ProbeKind.HTTPS, "192.0.2.1", None, "192.0.2.1"),
    ],
)
def test_the_host_header(kind: ProbeKind, host: str, port: int | None, header: str) -> None:
    assert http.authority(Target(kind, host, port)) == header


@pytest.mark.parametrize(
    ("status", "location", "strange"),
    [
        (204, "", ""),
        (204, "http://portal.invalid/", ""),
        (200, "", "status 200 instead of 204"),
        (307, "https://portal.invalid/", "status 307 to https://portal.invalid/"),
    ],
)
def test_the_expected_status_and_nothing_else(status: int, location: str, strange: str) -> None:
    assert http.judge(PAGE, status, location) == strange
    assert http.judge(dataclasses.replace(PAGE, status=status), status, location) == ""


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("0.0.0.0", True),
        ("10.0.0.1", True),
        ("100.64.0.1", True),
        ("127.0.0.1", True),
        ("169.254.1.1", True),
        ("172.31.255.255", True),
        ("172.32.0.0", False),
        ("192.168.1.1", True),
        ("1.1.1.1", False),
        ("100.128.0.1", False),
        ("::", True),
        ("::1", True),
        ("fd12::1", True),
        ("fe80::1", True),
        ("2606:4700:4700::1111", False),
        ("64:ff9b::101:101", False),
        ("::ffff:10.0.0.1", True),
    ],
)
def test_private_addresses(address: str, private: bool) -> None:
    assert is_private(address) is private


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("example.com", True),
        ("example.com.", True),
        ("router.lan", False),
        ("Router.LOCAL", False),
        ("printer.home.arpa", False),
        ("router", False),
        ("notlocal.com", True),
        ("x.internal", False),
    ],
)
def test_public_names(name: str, public: bool) -> None:
    assert is_public(name) is public


def test_resolv_conf() -> None:
    text = "# nameserver 9.9.9.9\nnameserver 127.0.0.53 # stub\nnameserver\noptions edns0\n nameserver\t2620:fe::fe\n"
    assert read_resolv_conf(text + "nameserver fe80::1%wan0\nnameserver what\n") == ["127.0.0.53", "2620:fe::fe"]


@unhurried
@given(st.text())
def test_any_resolv_conf_can_be_read(text: str) -> None:
    assert all("%" not in server for server in read_resolv_conf(text + "\nnameserver " + text))
