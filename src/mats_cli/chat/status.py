"""The status line of a chat: how loud it is and what is heard right now, beside everything else."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from mats_model.errors import MatsError

if TYPE_CHECKING:
    from mats_model.labels import Label
    from mats_model.live.events import Tags
    from mats_model.live.ring import Now
    from mats_model.live.stream import Stream
    from mats_model.mats import Mats

UPDATE = 0.25  # seconds between two looks
_QUIETEST = -60.0  # dB, the left end of the meter


class Watcher(threading.Thread):
    """Hears the last two seconds of `source` a few times a second; `line` shows them. `ears`, `source` and `gate` may
    be changed."""

    def __init__(self, source: Stream | None, mats: Mats, tags: Tags, gate: float) -> None:
        super().__init__(daemon=True)
        self.source, self.ears, self.gate = source, (mats, tags), gate
        self.now: Now | None = None
        self.heard: list[Label] = []
        self.problem: str | None = None
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(UPDATE):
            self.look()

    def look(self) -> None:
        """Once."""
        from mats_model.live.ring import NOW, hear_now

        source = self.source
        if source is None or not source.ring.total:
            return
        mats, tags = self.ears
        try:
            self.problem = source.problem()
            if source.ended():
                return
            now = hear_now(mats, source.ring.last(NOW), source.ring.sample_rate, self.gate)
            self.heard = tags.best(now.embedding, 4) if now.embedding is not None else []
            self.now = now
        except MatsError as error:  # the chat goes on
            self.problem = str(error)

    def stop(self) -> None:
        """At the next look."""
        self._stopped.set()

    def line(self, columns: int) -> str:
        """A meter, the level and the tags; never wider than the terminal."""
        if self.problem:
            return self.problem[:columns]
        if self.source is None:
            return ""
        if self.now is None:
            return "listening"[:columns]
        if self.now.embedding is None:
            heard = [self.source.warning() or "(silence)"]
        else:
            heard = [f"{label.name} {label.score:.2f}" for label in self.heard] or ["(nothing it knows)"]
        filled = round(min(1.0, max(0.0, 1.0 - self.now.level / _QUIETEST)) * 10)
        meter = f"[{'#' * filled}{'.' * (10 - filled)}] " if columns >= 60 else ""
        line = f"{meter}{self.now.level:.0f} dB"
        for number, part in enumerate(heard):
            # tags that do not fit are left out whole
            if number and len(line) + 2 + len(part) > columns:
                break
            line += f"  {part}"
        return line[:columns]
