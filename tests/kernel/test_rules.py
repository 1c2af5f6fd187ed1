"""Policy rules: everything that a rule can say is read, and a copy says the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failover.facts import Rule, RuleAction, Verb
from failover.kernel import Kernel
from failover.model import FAMILIES

from .box import V4, V6, Box, add, apply

SELECTORS = [
    "from {host} lookup 100",
    "to {net} lookup 100",
    "not from {net} lookup 100",
    "fwmark 0xca6c lookup 51820",
    "not fwmark 0xca6c lookup 51820",
    "fwmark 0x100/0xff00 lookup 100",
    "fwmark 0/0xff0000 lookup 100",
    "lookup main suppress_prefixlength 0",
    "lookup main suppress_prefixlength 16",
    "lookup main suppress_ifgroup 4",
    "iif wan0 lookup 100",
    "oif wan1 lookup 100",
    "iif not-yet.there lookup 100",
    "uidrange 1000-1999 lookup 100",
    "uidrange 0-0 prohibit",
    "ipproto tcp dport 443 lookup 100",
    "ipproto udp sport 1000-2000 dport 53-54 lookup 100",
    "ipproto icmp lookup 100",
    "tos 0x10 lookup 100",
    "tun_id 7 lookup 100",
    "prohibit",
    "unreachable",
    "blackhole",
    "nop",
    "goto 29000",
    "goto 32766",
    "not from {net} to {host} iif wan0 fwmark 1/3 uidrange 5-6 ipproto udp dport 53 lookup 4000000000",
]
HOSTS = {V4: ("192.0.2.1/32", "198.51.100.0/24"), V6: ("2001:db8::1/128", "fc00::/7")}


def copied(kernel: Kernel, original: Rule, priority: int = 15530) -> tuple[Rule, Rule]:
    """(what was written, what the kernel says of it)."""
    copy = replace(original, priority=priority, protocol=155)
    add(kernel, copy)
    return copy, next(r for r in kernel.read().rules if r.priority == priority and r.family is original.family)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("words", SELECTORS)
def test_a_copy_is_a_true_copy(box: Box, kernel: Kernel, words: str, family: str) -> None:
    home = V4 if family == V4 else V6
    host, net = HOSTS[home]
    line = words.format(host=host, net=net)
    done = box.try_ip(f"-{home[-1]} rule add {line} pref 20000")
    if "Invalid uid range" in done.stderr:
        pytest.skip("this user namespace does not know these users")
    assert done.returncode == 0, done.stderr
    original = next(r for r in kernel.read().rules if r.priority == 20000)
    written, told = copied(kernel, original)
    assert told == written
    assert _shown(box, home, 20000) == _shown(box, home, 15530), "iproute2 sees the same"
    assert apply(kernel, Verb.DELETE, written) == [None]
    assert [r for r in kernel.read().rules if r.priority == 15530] == []
    assert original in kernel.read().rules


def _shown(box: Box, family: str, priority: int) -> str:
    lines = box.ip(f"-{family[-1]} rule show pref {priority}").splitlines()
    assert len(lines) == 1
    words = lines[0].split(":", 1)[1].split()
    if "proto" in words:
        del words[words.index("proto") :][:2]
        words = words[: words.index("proto")]
    return " ".join(words)


def test_realms_and_whatever_else_the_kernel_says_of_a_rule(box: Box, kernel: Kernel) -> None:
    if box.try_ip("rule add from 192.0.2.1 lookup 100 realms 3/4 pref 20000").returncode != 0:
        pytest.skip("the kernel is built without route realms")
    original = next(r for r in kernel.read().rules if r.priority == 20000)
    written, told = copied(kernel, original)
    assert told == written


def test_l3mdev(box: Box, kernel: Kernel) -> None:
    if box.try_ip("rule add l3mdev pref 20000").returncode != 0:
        pytest.skip("the kernel is built without l3mdev")
    original = next(r for r in kernel.read().rules if r.priority == 20000)
    written, told = copied(kernel, original)
    assert told == written


def test_the_fields_of_a_rule(box: Box, kernel: Kernel) -> None:
    box.ip(
        "rule add not from 192.0.2.0/25 to 10.0.0.0/8 iif lo oif wan0 fwmark 5/7 tos 8 pref 9 lookup 70000 proto dhcp"
    )
    told = next(r for r in kernel.read().rules if r.priority == 9)
    assert told == Rule(
        V4,
        9,
        table=70000,
        invert=True,
        source="192.0.2.0/25",
        destination="10.0.0.0/8",
        iif="lo",
        oif="wan0",
        fwmark=5,
        fwmask=7,
        tos=8,
        protocol=16,
    )


def test_an_unclean_interface_name_is_copied_byte_by_byte(box: Box, kernel: Kernel) -> None:
    box.ip("rule add iif we\x07ird lookup 100 pref 20000")
    original = next(r for r in kernel.read().rules if r.priority == 20000)
    assert original.iif is None
    written, told = copied(kernel, original)
    assert told == written
    assert (3, b"we\x07ird\0") in told.extra


def test_the_rules_of_both_families_in_order(box: Box, kernel: Kernel) -> None:
    box.ip("-6 rule add prohibit pref 40000")
    told = [(rule.family, rule.priority) for rule in kernel.read().rules]
    assert told == [(V4, 0), (V4, 32766), (V4, 32767), (V6, 0), (V6, 32766), (V6, 40000)]


def test_rules_of_one_pref_are_told_apart(box: Box, kernel: Kernel) -> None:
    rules = [Rule(V4, 15510, table=15501 + n, source=f"192.0.2.{n}/32") for n in range(3)]
    rules += [Rule(V4, 15520, table=15501 + n, fwmark=(n + 1) << 24, fwmask=0x3F000000) for n in range(3)]
    add(kernel, *rules)
    assert apply(kernel, Verb.DELETE, rules[1], rules[4]) == [None, None]
    left = [rule for rule in kernel.read().rules if rule.protocol == 155]
    assert left == [rules[0], rules[2], rules[3], rules[5]]


def test_a_second_one_is_refused_and_a_second_deletion_is_none(box: Box, kernel: Kernel) -> None:
    rule = Rule(V6, 15590, RuleAction.PROHIBIT, fwmark=1, fwmask=0xFFFFFFFF)
    add(kernel, rule)
    assert apply(kernel, Verb.ADD, rule) == ["File exists"]
    assert apply(kernel, Verb.DELETE, rule, rule) == [None, None]
