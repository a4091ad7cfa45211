"""Charts as SVG inside a page: a bar, an interval, a reliability plot. The style sheet gives colours and letters."""

from __future__ import annotations

import math
from html import escape
from typing import Any

_SIDE, _LEFT, _LOW, _COUNTS = 240.0, 34.0, 26.0, 44.0  # of the reliability plot: its square, and the room around it


def bar(share: float | None) -> str:
    """A bar of a share from 0 to 1 of the width that there is; nothing where there is none."""
    if share is None or not math.isfinite(share):
        return ""
    width = 100 * min(max(share, 0.0), 1.0)
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="ground" width="100" height="10"/><rect class="full" width="{width:.2f}" height="10"/></svg>'
    )


def interval(value: float, low: float, high: float) -> str:
    """A value and its interval on a line from 0 to 1; nothing where one of them lies outside."""
    if not all(math.isfinite(each) and 0 <= each <= 1 for each in (value, low, high)):
        return ""
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="ground" y="4" width="100" height="2"/>'
        f'<rect class="full" x="{100 * low:.2f}" y="2" width="{max(0.6, 100 * (high - low)):.2f}" height="6"/>'
        f'<rect class="point" x="{100 * value - 0.4:.2f}" width="0.8" height="10"/></svg>'
    )


def reliability(rows: list[dict[str, Any]]) -> str:
    """Share that is right above mean confidence, a bar a bin with its gap to the diagonal; below, how many recordings
    each bin holds. `rows`: low, high, count, confidence, right."""
    most = max((row["count"] for row in rows), default=1)
    parts = [f'<line class="axis" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke-dasharray="4 4"/>']
    for row in rows:
        left, width = _x(row["low"]), (row["high"] - row["low"]) * _SIDE
        top, bottom = sorted((_y(row["right"]), _y(row["confidence"])))
        told = (
            f"confidence {row['confidence']:.3f}, right {row['right']:.3f}, {row['count']} "
            f"recording{'' if row['count'] == 1 else 's'}"
        )
        height = _COUNTS * row["count"] / most
        parts.append(
            f'<g><title>{escape(told)}</title><rect class="full" x="{left + 0.5:.1f}" y="{_y(row["right"]):.1f}" '
            f'width="{width - 1:.1f}" height="{_y(0) - _y(row["right"]):.1f}"/>'
            f'<rect class="gap" x="{left + 0.5:.1f}" y="{top:.1f}" width="{width - 1:.1f}" '
            f'height="{bottom - top:.1f}"/><circle class="point" cx="{_x(row["confidence"]):.1f}" '
            f'cy="{_y(row["right"]):.1f}" r="2.5"/><rect class="count" x="{left + 0.5:.1f}" '
            f'y="{_under() + _COUNTS - height:.1f}" width="{width - 1:.1f}" height="{height:.1f}"/></g>'
        )
    width, height = _LEFT + _SIDE + 8, _under() + _COUNTS + 4
    named = "Reliability: share right by confidence, and how many recordings"
    return (
        f'<svg class="plot" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{named}">{_axes()}'
        f'{"".join(parts)}<text x="{_LEFT - 6}" y="{_under() + 12:.0f}" text-anchor="end">{most}</text></svg>'
    )


def _x(share: float) -> float:
    return round(_LEFT + share * _SIDE, 1)


def _y(share: float) -> float:
    return round(8 + (1 - share) * _SIDE, 1)


def _under() -> float:
    """Where the counts begin."""
    return 8 + _SIDE + _LOW


def _axes() -> str:
    parts = []
    for tenths in (0, 2, 4, 6, 8, 10):
        share = tenths / 10
        parts.append(
            f'<line class="grid" x1="{_x(0)}" y1="{_y(share)}" x2="{_x(1)}" y2="{_y(share)}"/>'
            f'<text x="{_LEFT - 6}" y="{_y(share) + 4}" text-anchor="end">{share:g}</text>'
            f'<text x="{_x(share)}" y="{_y(0) + 15}" text-anchor="middle">{share:g}</text>'
        )
    return "".join(parts)
