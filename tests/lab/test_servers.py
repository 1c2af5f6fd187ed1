"""The servers of the internet: what they answer, and that they can misbehave."""

from __future__ import annotations

from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import pytest

from failover.lab.places import NAMES, TARGETS
from failover.lab.servers import Manners, dns_answer
from failover.lab.world import World
from failover.model import FAMILIES, Family

from .looks import ask_dns, http_get, tcp_echo


@pytest.fixture(autouse=True)
def _polite(world: World) -> Iterator[None]:
    yield
    world.servers.ask({"http": 204, "dns": "answer"})


@pytest.mark.parametrize(("kind", "family"), [("A", Family.IPV4), ("AAAA", Family.IPV6)])
def test_dns_knows_its_names(kind: str, family: Family) -> None:
    query = dns.message.make_query("connectivitycheck.gstatic.com", kind)
    answer = dns_answer(query.to_wire(), Manners())
    assert answer is not None
    reply = dns.message.from_wire(answer)
    assert reply.id == query.id
    assert reply.flags & dns.flags.QR
    assert reply.answer[0][0].to_text() == NAMES["connectivitycheck.gstatic.com"][family]


def test_dns_knows_no_others() -> None:
    answer = dns_answer(dns.message.make_query("example.net", "A").to_wire(), Manners())
    assert answer is not None
    assert dns.message.from_wire(answer).rcode() == dns.rcode.NXDOMAIN


def test_dns_has_no_other_types() -> None:
    answer = dns_answer(dns.message.make_query("example.com", "MX").to_wire(), Manners())
    assert answer is not None
    reply = dns.message.from_wire(answer)
    assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])


def test_dns_ignores_rubbish() -> None:
    assert dns_answer(b"\0" * 5, Manners()) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_every_server_answers_in_both_families(world: World, family: Family) -> None:
    for target in TARGETS[family]:
        assert ask_dns(world.van, family, "wwan0", target, "example.com") == dns.rcode.NOERROR
    assert http_get(world.van, family, "wwan0") == (204, "")
    assert tcp_echo(world.van, family, "wwan0", b"hello") == b"hello"


def test_http_can_answer_otherwise_or_not_at_all(world: World) -> None:
    world.servers.ask({"http": 503})
    assert http_get(world.van, Family.IPV4, "wwan0") == (503, "")
    world.servers.ask({"http": 0})
    assert http_get(world.van, Family.IPV4, "wwan0") is None


def test_dns_can_answer_otherwise_or_not_at_all(world: World) -> None:
    for manner, rcode in (("servfail", dns.rcode.SERVFAIL), ("nxdomain", dns.rcode.NXDOMAIN), ("silent", None)):
        world.servers.ask({"dns": manner})
        assert ask_dns(world.van, Family.IPV4, "wwan0", "9.9.9.9", "example.com") == rcode


def test_requests_are_counted(world: World) -> None:
    before = world.servers.ask({})["counts"]
    http_get(world.van, Family.IPV4, "wwan0")
    ask_dns(world.van, Family.IPV4, "wwan0", "9.9.9.9", "example.com")
    after = world.servers.ask({})["counts"]
    assert {key: after[key] - before[key] for key in after} == {"http": 1, "dns": 1}
