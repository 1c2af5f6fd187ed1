"""What came out, as figures and as the table of the project's README: everyone beside us."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tests.bench.peers.play import CONDITIONS, USUAL, Condition, Results
from tests.bench.peers.ranks import METERED, Peer
from tests.bench.report import Figure

NOTHING: Final = "-"


def outage_figure(results: Results, peer: Peer, condition: Condition) -> Figure:
    """Seconds of new flows after the blackout; the ratio of the medians to ours under the same condition."""
    values = results.outages.get((peer, condition), [])
    figure = Figure(f"blackout, {condition}: {peer}", "s", values)
    ours = results.outages.get((METERED, condition), [])
    if not values or not ours:
        return figure
    ratio = figure.statistic("median") / Figure("", "s", ours).statistic("median")
    return Figure(figure.name, "s", values, note=_times(ratio))


def _times(ratio: float) -> str:
    """Two digits are more than the machine's mood allows for."""
    return f"{ratio:.0f} × ours" if ratio >= 10 else f"{ratio:.2g} × ours"


def bytes_figure(results: Results, peer: Peer) -> Figure:
    """IPv4 bytes a minute at rest, both uplinks and both ways, and the ratio to ours."""
    values = [results.bytes_per_minute[peer]] if peer in results.bytes_per_minute else []
    ours = results.bytes_per_minute.get(METERED)
    note = _times(values[0] / ours) if values and ours else ""
    return Figure(f"at rest, both uplinks: {peer}", "B/min", values, note=note)


def figures(results: Results, peers: Sequence[Peer], missing: Iterable[Peer]) -> list[Figure]:
    """Everything measured; those who are not installed are named."""
    found = [outage_figure(results, peer, condition) for condition in CONDITIONS for peer in peers]
    found += [bytes_figure(results, peer) for peer in peers]
    absent = [Figure(str(peer), "s", [], note=_absent(peer)) for peer in missing]
    return [*(figure for figure in found if figure.values), *absent]


def _absent(peer: Peer) -> str:
    return f"not installed: apt-get install {peer.package}"


def markdown(results: Results, peers: Sequence[Peer], missing: Iterable[Peer]) -> str:
    """The README's table."""
    heads = ["", *(f"{condition}, s" for condition in CONDITIONS), "× ours", "at rest, kB/min", "× ours"]
    rows = [heads, ["---"] * len(heads)]
    rows += [_row(results, peer) for peer in peers]
    rows += [[str(peer), _absent(peer), *[""] * (len(heads) - 2)] for peer in missing]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(results: Results, peer: Peer) -> list[str]:
    cells = [_spread(outage_figure(results, peer, condition)) for condition in CONDITIONS]
    usual, rest = outage_figure(results, peer, USUAL), bytes_figure(results, peer)
    cost = f"{rest.values[0] / 1000:.3g}" if rest.values else NOTHING
    name = f"**{peer}**" if peer is METERED else str(peer)
    return [name, *cells, _ratio(usual), cost, _ratio(rest)]


def _ratio(figure: Figure) -> str:
    return figure.note.partition(" ")[0] or NOTHING


def _spread(figure: Figure) -> str:
    """Median and p95."""
    if not figure.values:
        return NOTHING
    return " / ".join(f"{figure.statistic(name):.2f}" for name in ("median", "p95"))
