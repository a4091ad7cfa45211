"""Moments of a library as text, JSON, JSON lines, CSV, a playlist or labels for Audacity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mats_cli.formats import TABLES, cell, clock, plain_json, table, visible

if TYPE_CHECKING:
    from mats_model.library.search import Hit


def _plain(hit: Hit) -> dict[str, Any]:
    """For JSON."""
    told: dict[str, Any] = {"score": round(hit.score, 4)}
    if hit.probability is not None:
        told["probability"] = round(hit.probability, 4)
    told |= {"path": hit.paths[0], "start": round(hit.start, 3), "end": round(hit.end, 3)}
    more = {"caption": hit.caption, "tags": hit.tags, "copies": hit.paths[1:]}
    return {**told, **{key: value for key, value in more.items() if value}}


def _likely(hit: Hit, digits: int) -> str:
    return "" if hit.probability is None else f"{hit.probability:.{digits}f}"


def document(hits: list[Hit], kind: str) -> str:
    """All hits in one format."""
    if kind == "json":
        return plain_json([_plain(hit) for hit in hits], 2) + "\n"
    if kind == "jsonl":
        return "".join(plain_json(_plain(hit)) + "\n" for hit in hits)
    if kind in TABLES:
        rows = [
            [f"{h.score:.4f}", cell(h.paths[0]), f"{h.start:.3f}", f"{h.end:.3f}", cell(h.caption or ""), _likely(h, 4)]
            for h in hits
        ]
        return TABLES[kind] + table([["score", "path", "start", "end", "caption", "probability"], *rows])
    if kind == "m3u8":
        # players without the two VLC lines play the whole file
        lines = ["#EXTM3U"]
        for hit in hits:
            name = Path(visible(hit.paths[0])).name
            lines += [f"#EXTINF:{hit.end - hit.start:.3f},{hit.score:.2f} {name} {clock(hit.start)}"]
            lines += [
                f"#EXTVLCOPT:start-time={hit.start:.3f}",
                f"#EXTVLCOPT:stop-time={hit.end:.3f}",
                _played(hit.paths[0]),
            ]
        return "\n".join(lines) + "\n"
    if kind == "audacity":
        return "".join(
            f"{hit.start:.6f}\t{hit.end:.6f}\t{visible(hit.caption or f'{hit.score:.2f}')}\n"
            for hit in sorted(hits, key=lambda hit: hit.start)
        )
    lines = []
    for hit in hits:
        lines.append(
            "\t".join(
                [
                    f"{hit.score:.2f}",
                    _likely(hit, 2) or "-",
                    visible(hit.paths[0]),
                    f"{clock(hit.start)}-{clock(hit.end)}",
                    *filter(None, [visible(hit.caption or "")]),
                ]
            )
        )
    return "".join(line + "\n" for line in lines)


def _played(path: str) -> str:
    """A path as the only thing on its line, which is no remark: a name with a line's end in it cannot be played from a
    list."""
    shown = "".join(letter if "\udc80" <= letter <= "\udcff" else visible(letter) for letter in path)
    return f"./{shown}" if shown.startswith("#") else shown
