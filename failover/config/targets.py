"""Probe targets as URLs: text -> `model.Target`.

Only syntax, and what an uplink can be asked for at all; no name is resolved and nothing is sent.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from failover.config.values import WrongValueError, parse_port, quoted
from failover.model import Family, ProbeKind, Target
from failover.wording import suggest

_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?P<fragment>#.*)?"
)
_URL_LENGTH: Final = 512
_FORBIDDEN: Final = re.compile(r"[^!-~]|[\"<>\\^`{|}]|%(?![0-9A-Fa-f]{2})")
"""What RFC 3986 allows nowhere in a URL."""
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_STATUS: Final = re.compile(r"[245][0-9]{2}")
_PORTS: Final = {ProbeKind.DNS: 53, ProbeKind.HTTP: 80, ProbeKind.HTTPS: 443}
_EXAMPLES: Final = {
    ProbeKind.ICMP: "icmp://1.1.1.1",
    ProbeKind.TCP: "tcp://1.1.1.1:443",
    ProbeKind.DNS: "dns://9.9.9.9/example.com",
    ProbeKind.HTTP: "http://example.com/generate_204",
    ProbeKind.HTTPS: "https://example.com/generate_204",
}

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_target(text: str) -> Target:
    """One target of `icmp://ADDR`, `tcp://ADDR:PORT`, `dns://SERVER[:PORT]/NAME`, `http(s)://HOST[:PORT]/PATH[?status=]`.

    `port` is filled in where the scheme has one; `url` is canonical. Raises WrongValueError.
    """
    match = _URL.fullmatch(text)
    if match is None:
        raise WrongValueError(f"{quoted(text)} is not a URL", f"write a target as {_EXAMPLES[ProbeKind.ICMP]}")
    kind = _kind(match["scheme"])
    if len(text) > _URL_LENGTH:
        raise WrongValueError(f"{quoted(text)} is too long", f"a target has at most {_URL_LENGTH} characters")
    if "%" in match["authority"]:
        raise WrongValueError("'%' in a host", "an address takes no zone here: the uplink names the interface")
    if bad := _FORBIDDEN.search(text):
        raise WrongValueError(
            f"{quoted(bad[0])} cannot be in a URL", "percent-encode it, or write names in ASCII (xn--...)"
        )
    if "@" in match["authority"]:
        raise WrongValueError("a user or password in a target", "probes carry no credentials; remove it and the '@'")
    if match["fragment"]:
        raise WrongValueError(f"{quoted(match['fragment'])} is never sent", "remove it")
    host, address, port = _authority(kind, match["authority"])
    path, query = match["path"] or "", (match["query"] or "")[1:]
    if kind.is_web:
        return _web_target(kind, host, address, port, path or "/", query)
    if query:
        raise WrongValueError(f"'?' has no meaning with {kind}", f"write it as {_EXAMPLES[kind]}")
    assert address is not None
    return _plain_target(kind, host, address, port, path)


def _kind(scheme: str) -> ProbeKind:
    kinds = [kind.value for kind in ProbeKind]
    if scheme.lower() in kinds:
        return ProbeKind(scheme.lower())
    hint = suggest("icmp" if scheme.lower() == "ping" else scheme, kinds) or f"schemes: {', '.join(kinds)}"
    raise WrongValueError(f"unknown scheme {quoted(scheme)}", hint)


def _authority(kind: ProbeKind, authority: str) -> tuple[str, _Address | None, int | None]:
    """Host without brackets, the address it is (None: a name), and the port (None: icmp)."""
    host, port = _split_port(kind, authority)
    address = _address(host)
    if address is None:
        if not kind.is_web:
            raise WrongValueError(
                f"{quoted(host)} is not an address", f"{kind} needs a literal one, as {_EXAMPLES[kind]}"
            )
        host = _dns_name(host, "a host")
    else:
        host = str(address)
    if port is not None and kind is ProbeKind.ICMP:
        raise WrongValueError("icmp has no port", f"write {_EXAMPLES[kind]}")
    if port is None and kind is ProbeKind.TCP:
        raise WrongValueError("no port", f"write the port after the address, as {_EXAMPLES[kind]}")
    return host, address, parse_port(port) if port is not None else _PORTS.get(kind)


def _split_port(kind: ProbeKind, authority: str) -> tuple[str, str | None]:
    """Host without brackets, and the text after the colon (None: there is no colon)."""
    if not authority:
        raise WrongValueError("no host", f"write it as {_EXAMPLES[kind]}")
    if authority.startswith("["):
        host, closed, rest = authority[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")) or ":" not in host:
            raise WrongValueError(f"{quoted(authority)} is not '[IPV6]' or '[IPV6]:PORT'", "check the brackets")
        return host, rest[1:] if rest else None
    if authority.count(":") > 1:
        raise WrongValueError("an IPv6 address without brackets", f"write it as {kind}://[2606:4700:4700::1111]")
    host, colon, port = authority.partition(":")
    return host, port if colon else None


def _address(host: str) -> _Address | None:
    """The address a probe can be sent to; None when the host is not written as an address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if ":" in host or host.rpartition(".")[2].isdigit():
            raise WrongValueError(f"{quoted(host)} is not an address", "check the digits") from None
        return None
    if fault := _unreachable(address):
        raise WrongValueError(f"{address} is {fault}", "a target must lie on the far side of the uplink")
    return address


def _unreachable(address: _Address) -> str:
    """Why no uplink leads to this address; empty when one may."""
    faults = {
        "an IPv4 address written as IPv6": address.version == 6 and address.ipv4_mapped is not None,
        "the unspecified address": address.is_unspecified or (address.version == 4 and address.packed[0] == 0),
        "a loopback address": address.is_loopback,
        "a multicast address": address.is_multicast,
        "a link-local address": address.is_link_local,
        "a reserved address": address.version == 4 and address.is_reserved,
    }
    return next((fault for fault, found in faults.items() if found), "")


def _dns_name(text: str, what: str) -> str:
    """A DNS name in canonical form: lower case, no final dot (RFC 1035: labels of 63, 253 in all)."""
    name = text.lower().removesuffix(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise WrongValueError(
            f"{quoted(text)} is not {what} name", "labels of a-z 0-9 - _ with dots between, as example.com"
        )
    return name


def _plain_target(kind: ProbeKind, host: str, address: _Address, port: int | None, path: str) -> Target:
    """icmp, tcp, dns: always at a literal address."""
    name = ""
    if kind is ProbeKind.DNS:
        if path in ("", "/"):
            raise WrongValueError("no name to ask for", f"write it as {_EXAMPLES[kind]}")
        name = _dns_name(path[1:], "a DNS")
    elif path:
        raise WrongValueError(f"{quoted(path)} has no meaning with {kind}", f"write it as {_EXAMPLES[kind]}")
    url = f"{kind}://{_shown(kind, address, host, port)}" + (f"/{name}" if name else "")
    return Target(kind, host, port, name, family=Family.of(host), url=url)


def _web_target(
    kind: ProbeKind, host: str, address: _Address | None, port: int | None, path: str, query: str
) -> Target:
    kept = [part for part in query.split("&") if part and not part.startswith("status=")]
    wanted = [part.removeprefix("status=") for part in query.split("&") if part.startswith("status=")]
    status = _status(wanted) if wanted else 204
    full = path + ("?" + "&".join(kept) if kept else "")
    shown = [*kept, f"status={status}"] if status != 204 else kept
    url = f"{kind}://{_shown(kind, address, host, port)}{path}" + ("?" + "&".join(shown) if shown else "")
    return Target(kind, host, port, full, status, None if address is None else Family.of(host), url)


def _status(wanted: list[str]) -> int:
    if len(wanted) > 1:
        raise WrongValueError("more than one 'status='", "keep one")
    if wanted[0][:1] == "3":
        raise WrongValueError(f"status {quoted(wanted[0])} is a redirect, as a portal answers", "name the final page")
    if not _STATUS.fullmatch(wanted[0]):
        raise WrongValueError(f"{quoted(wanted[0])} is not an HTTP status to expect", "use 200-299 or 400-599")
    return int(wanted[0])


def _shown(kind: ProbeKind, address: _Address | None, host: str, port: int | None) -> str:
    name = f"[{host}]" if address is not None and address.version == 6 else host
    return name if port == _PORTS.get(kind) else f"{name}:{port}"
