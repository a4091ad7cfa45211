"""Santa, the listening side of the gap: an audio embedding moves toward the captions nearest to it (eq. 6-7), or
crosses otherwise.

Each way is a function (heard (n, d), memory, settings) -> (n, d), unit length in and out, and treats every row by
itself: a result never depends on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Protocol

import numpy as np

from mats_model.config import SantaSettings
from mats_model.errors import UsageError
from mats_model.gap.taught import Taught
from mats_model.settings import changed as settings_changed
from mats_model.vectors import largest, softmax, unit


class Memory(Protocol):
    """Text embeddings in K clusters."""

    centres: np.ndarray  # (K, d)
    audio_mean: np.ndarray | None  # (d,) of some recordings, for `shift`

    @property
    def text_mean(self) -> np.ndarray:
        """(d,) of the memory."""

    def members(self, cluster: int) -> tuple[np.ndarray, np.ndarray]:
        """The embeddings (c, d) of a cluster, float32, and their places (c,) in the memory."""

    def texts(self, places: list[int]) -> list[str]:
        """The captions themselves. Errors: UsageError where only their embeddings were kept."""


def nearest(memory: Memory, heard: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """heard (d,) -> cosines, embeddings and places of the texts nearest to it, in the cluster nearest to it, best
    first."""
    cluster = int(np.square(memory.centres - heard).sum(-1).argmin())
    texts, places = memory.members(cluster)
    # unit vectors: nearest by L2 is largest by product
    value = texts @ heard
    which = largest(value, count)
    return value[which], texts[which], places[which]


def _weighed(value: np.ndarray, texts: np.ndarray, temperature: float) -> np.ndarray:
    return softmax(value / temperature) @ texts


def blend(heard: np.ndarray, memory: Memory, settings: SantaSettings) -> np.ndarray:
    """The paper's: normalise((1 - lambda) z + lambda sum_i softmax(z.m_i / tau)_i m_i), over the L nearest of z's
    cluster."""
    moved = []
    for z in heard:
        value, texts, _ = nearest(memory, z, settings.neighbours)
        moved.append((1.0 - settings.blend) * z + settings.blend * _weighed(value, texts, settings.temperature))
    return unit(np.stack(moved))


def project(heard: np.ndarray, memory: Memory, settings: SantaSettings) -> np.ndarray:
    """DRCap's: lambda = 1 over the whole memory, all clusters."""
    moved = []
    for z in heard:
        total, most = np.zeros_like(z), -math.inf
        for cluster in range(len(memory.centres)):
            texts, _ = memory.members(cluster)
            if not len(texts):
                continue
            value = (texts @ z) / settings.temperature
            # the largest so far is taken out of the exponent, so that nothing overflows
            top = max(most, float(value.max()))
            total = total * np.float32(math.exp(most - top)) + np.exp(value - top) @ texts
            most = top
        moved.append(total)
    return unit(np.stack(moved))


def shift(heard: np.ndarray, memory: Memory, settings: SantaSettings) -> np.ndarray:
    """normalise(z - (mean audio - mean text)). Errors: UsageError where the memory knows no mean of audio."""
    if memory.audio_mean is None:
        raise UsageError(
            "way=shift needs the mean of some recordings: build the memory with a folder of them as its audio."
        )
    return unit(heard - (memory.audio_mean - memory.text_mean))


def stay(heard: np.ndarray, memory: Memory, settings: SantaSettings) -> np.ndarray:
    """Nothing is moved."""
    return heard


# what may be changed: by the letters of the paper, and by the fields' own names
_LETTERS = {"lambda": "blend", "tau": "temperature", "k": "neighbours", "names": "near_names"}
_CHANGED = {
    name: name
    for name in ("clusters", "way", "prompt", "blend", "temperature", "neighbours", "near_names", "taught_odds")
}


def changed(settings: SantaSettings, text: str) -> SantaSettings:
    """`settings` with some of them as in "lambda=0.5,tau=0.1,k=32,clusters=100,way=project". Errors: UsageError."""
    return settings_changed(settings, text, "santa", _LETTERS | _CHANGED)


WAYS: dict[str, Callable[[np.ndarray, Memory, SantaSettings], np.ndarray]] = {
    "blend": blend,
    "project": project,
    "shift": shift,
    "none": stay,
}


class Santa:
    """A memory (m, d) that lies in the model folder, or another one, and the way across; (n, d) unit length -> (n, d)
    unit length."""

    def __init__(self, width: int, settings: SantaSettings) -> None:
        self.settings = settings
        self.other: Memory | None = None
        self.audio_mean: np.ndarray | None = None
        # what the memory's embeddings are of, and below those of the names; where they were kept
        self.captions: list[str] = []
        self.name_texts: list[str] = []
        self.taught_texts: list[str] = []  # words of the user's own
        self.memory = np.zeros((settings.size, width), np.float32)
        self.centres = np.zeros((settings.clusters, width), np.float32)
        self.assign = np.zeros(settings.size, np.int32)
        self.names = np.zeros((settings.names, width), np.float32)
        self.taught = np.zeros((settings.taught, width), np.float32)

    def kept(self) -> dict[str, np.ndarray]:
        """The arrays that belong in a model folder, by name."""
        own = {"memory": self.memory, "centres": self.centres, "assign": self.assign}
        more = {"names": self.names, "taught": self.taught}
        return own | {name: array for name, array in more.items() if len(array)}

    @classmethod
    def build(
        cls,
        texts: np.ndarray,
        settings: SantaSettings,
        rounds: int = 25,
        seed: int = 0,
        names: np.ndarray | None = None,
        taught: np.ndarray | None = None,
    ) -> Santa:
        """Cluster the embeddings (m, d) of the training texts, noise included if they carry any; m and K are
        `settings`'.

        `names` (c, d) are embeddings of class names, `taught` (w, d) the means of the descriptions of the user's own
        words, kept beside them.
        """
        from mats_model.gap.kmeans import kmeans

        santa = cls(texts.shape[1], settings)
        if names is not None:
            santa.names[:] = names
        if taught is not None:
            santa.taught[:] = taught
        santa.memory[:] = texts
        santa.centres[:], santa.assign[:] = kmeans(santa.memory, settings.clusters, rounds, seed)
        return santa

    @property
    def text_mean(self) -> np.ndarray:
        """(d,)."""
        return self.memory.mean(0, dtype=np.float64).astype(np.float32)

    def members(self, cluster: int) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings (c, d) of a cluster, and their places (c,) in the memory."""
        if len(self.centres) == 1:
            return self.memory, np.arange(len(self.memory))
        places = np.flatnonzero(self.assign == cluster)
        return self.memory[places], places

    def texts(self, places: list[int]) -> list[str]:
        """The captions at some places. Errors: UsageError where only their embeddings were kept."""
        if self.captions:
            return [self.captions[place] for place in places]
        raise UsageError(
            "this model's memory holds embeddings only: build one of your captions with `mats index memory`, and give "
            "that one."
        )

    @property
    def used(self) -> Memory:
        """The other memory where one was given, else its own."""
        return self if self.other is None else self.other

    @property
    def crosses(self) -> bool:
        """Whether anything is to be moved: with way=none a sound is told as it was heard."""
        return self.settings.way != "none"

    def __call__(self, heard: np.ndarray) -> np.ndarray:
        """The settings' way across; where a taught word is heard, to that one."""
        moved, places = self._moved(heard), [self.taught_place(z) for z in heard]
        if max(places, default=-1) < 0:
            return moved
        return np.stack([z if place < 0 else unit(self.taught[place]) for z, place in zip(moved, places, strict=True)])

    def taught_place(self, heard: np.ndarray) -> int:
        """Which of the user's own words is heard in a sound (d,), -1 for none."""
        return self._taught.place(heard, self.settings.taught_odds) if len(self.taught) and self.crosses else -1

    @cached_property
    def _taught(self) -> Taught:
        return Taught(self.taught, self.memory)

    def _moved(self, heard: np.ndarray) -> np.ndarray:
        if (self.settings.way == "blend" and self.settings.blend == 0.0) or (
            self.other is None and not len(self.memory)
        ):
            return heard
        return WAYS[self.settings.way](heard, self.used, self.settings)

    def looks(self, heard: np.ndarray) -> list[np.ndarray]:
        """What the mapper may be given, each (n, d) unit length: the way above, and where names are kept the nearest of
        those.

        Captions are vague where several sounds are alike; a name is not. Which of the answers fits best is judged by
        the encoder.
        """
        first = self(heard)
        if not len(self.names) or not self.settings.near_names or not self.crosses:
            return [first]
        near = [
            _weighed(*heard_names(self.names, z, self.settings.near_names), self.settings.temperature) for z in heard
        ]
        return [first, unit(np.stack(near))]

    def cross(self, settings: SantaSettings, memory: Memory | None = None) -> None:
        """Another way across, or another memory. Errors: UsageError for clusters that a memory on disk does not
        have."""
        if memory is not None and settings.clusters not in (self.settings.clusters, len(memory.centres)):
            raise UsageError(
                f"clusters={settings.clusters}: this memory has {len(memory.centres)}; build it again with as many."
            )
        if memory is None and settings.clusters != len(self.centres):
            again = Santa.build(self.memory, settings, names=self.names, taught=self.taught)
            self.centres, self.assign = again.centres, again.assign
        self.settings, self.other = settings, memory

    def near_texts(self, heard: np.ndarray, count: int) -> list[tuple[str, float]]:
        """The captions nearest to (d,), and their cosines. Errors: UsageError where only embeddings were kept."""
        value, _, places = nearest(self.used, heard, count)
        return list(zip(self.used.texts(places.tolist()), value.tolist(), strict=True))


def heard_names(names: np.ndarray, z: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and embeddings of the names (c, d) nearest to z (d,)."""
    value = names @ z
    which = largest(value, count)
    return value[which], names[which]
