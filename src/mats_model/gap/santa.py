"""Santa, the listening side of the gap: an audio embedding moves toward the captions nearest to it (eq. 6-7), or
crosses otherwise.

Each way is a function (heard (n, d), memory, settings) -> (n, d), unit length in and out, and treats every row by
itself, so that company changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional as F

from mats_model.config import SantaSettings
from mats_model.errors import UsageError
from mats_model.settings import changed as settings_changed


class Memory(Protocol):
    """Text embeddings in K clusters."""

    centres: torch.Tensor  # (K, d)
    audio_mean: torch.Tensor | None  # (d,) of some recordings, for `shift`

    @property
    def text_mean(self) -> torch.Tensor:
        """(d,) of the memory."""

    def members(self, cluster: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The embeddings (c, d) of a cluster, float32, and their places (c,) in the memory."""

    def texts(self, places: list[int]) -> list[str]:
        """The captions themselves. Errors: UsageError where only their embeddings were kept."""


def kmeans(vectors: torch.Tensor, clusters: int, rounds: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain Lloyd k-means from seeded, distinct starts: centres (K, d), assignment (m,).

    An emptied cluster takes the vector farthest from its centre.
    """
    generator = torch.Generator().manual_seed(seed)
    centres = vectors[torch.randperm(len(vectors), generator=generator)[:clusters]].clone()
    assign = torch.zeros(len(vectors), dtype=torch.long)
    for _ in range(rounds):
        distance = torch.cdist(vectors, centres)
        nearest, assign = distance.min(1)
        sums = torch.zeros_like(centres).index_add_(0, assign, vectors)
        sizes = torch.bincount(assign, minlength=clusters)
        centres = sums / sizes.clamp(min=1)[:, None]
        for empty in (sizes == 0).nonzero().flatten().tolist():
            far = int(nearest.argmax())
            centres[empty], nearest[far] = vectors[far], 0.0
    return centres, torch.cdist(vectors, centres).argmin(1)


def nearest(memory: Memory, heard: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """heard (d,) -> cosines, embeddings and places of the texts nearest to it, in the cluster nearest to it, best
    first."""
    cluster = int(torch.cdist(heard[None], memory.centres).argmin())
    texts, places = memory.members(cluster)
    # unit vectors: nearest by L2 is largest by product
    value, which = (texts @ heard).topk(min(count, len(texts)))
    return value, texts[which], places[which]


def _weighed(value: torch.Tensor, texts: torch.Tensor, temperature: float) -> torch.Tensor:
    return ((value / temperature).softmax(-1)[:, None] * texts).sum(0)


def blend(heard: torch.Tensor, memory: Memory, settings: SantaSettings) -> torch.Tensor:
    """The paper's: normalise((1 - lambda) z + lambda sum_i softmax(z.m_i / tau)_i m_i), over the L nearest of z's
    cluster."""
    moved = []
    for z in heard:
        value, texts, _ = nearest(memory, z, settings.neighbours)
        moved.append((1.0 - settings.blend) * z + settings.blend * _weighed(value, texts, settings.temperature))
    return F.normalize(torch.stack(moved), dim=-1)


def project(heard: torch.Tensor, memory: Memory, settings: SantaSettings) -> torch.Tensor:
    """DRCap's: lambda = 1 over the whole memory, all clusters."""
    moved = []
    for z in heard:
        total, most = torch.zeros_like(z), -torch.inf
        for cluster in range(len(memory.centres)):
            texts, _ = memory.members(cluster)
            if not len(texts):
                continue
            value = (texts @ z) / settings.temperature
            # the largest so far is taken out of the exponent, so that nothing overflows
            top = max(most, float(value.max()))
            total = total * torch.tensor(most - top).exp() + ((value - top).exp()[:, None] * texts).sum(0)
            most = top
        moved.append(total)
    return F.normalize(torch.stack(moved), dim=-1)


def shift(heard: torch.Tensor, memory: Memory, settings: SantaSettings) -> torch.Tensor:
    """normalise(z - (mean audio - mean text)). Errors: UsageError where the memory knows no mean of audio."""
    if memory.audio_mean is None:
        raise UsageError(
            "way=shift needs the mean of some recordings: build the memory with `mats index memory --audio FOLDER`."
        )
    return F.normalize(heard - (memory.audio_mean - memory.text_mean), dim=-1)


def stay(heard: torch.Tensor, memory: Memory, settings: SantaSettings) -> torch.Tensor:
    """Nothing is moved."""
    return heard


# what may be changed: by the letters of the paper, and by the fields' own names
_LETTERS = {"lambda": "blend", "tau": "temperature", "k": "neighbours", "names": "near_names"}
_CHANGED = {name: name for name in ("clusters", "way", "prompt", "blend", "temperature", "neighbours", "near_names")}


def changed(settings: SantaSettings, text: str) -> SantaSettings:
    """`settings` with some of them as in "lambda=0.5,tau=0.1,k=32,clusters=100,way=project". Errors: UsageError."""
    return settings_changed(settings, text, "santa", _LETTERS | _CHANGED)


WAYS: dict[str, Callable[[torch.Tensor, Memory, SantaSettings], torch.Tensor]] = {
    "blend": blend,
    "project": project,
    "shift": shift,
    "none": stay,
}


class Santa(nn.Module):
    """A memory (m, d) that lies in the model folder, or another one, and the way across; (n, d) unit length -> (n, d)
    unit length."""

    memory: torch.Tensor
    centres: torch.Tensor
    assign: torch.Tensor
    names: torch.Tensor

    def __init__(self, width: int, settings: SantaSettings) -> None:
        super().__init__()
        self.settings = settings
        self.other: Memory | None = None
        self.audio_mean: torch.Tensor | None = None
        self.captions: list[
            str
        ] = []  # what the memory's embeddings are of, and below those of the names; where they were kept
        self.name_texts: list[str] = []
        self.register_buffer("memory", torch.zeros(settings.size, width))
        self.register_buffer("centres", torch.zeros(settings.clusters, width))
        self.register_buffer("assign", torch.zeros(settings.size, dtype=torch.int32))
        self.register_buffer("names", torch.zeros(settings.names, width), persistent=settings.names > 0)

    @classmethod
    def build(
        cls,
        texts: torch.Tensor,
        settings: SantaSettings,
        rounds: int = 25,
        seed: int = 0,
        names: torch.Tensor | None = None,
    ) -> Santa:
        """Cluster the embeddings (m, d) of the training texts, noise included if they carry any; m and K are
        `settings`'.

        `names` (c, d) are embeddings of class names, kept beside them.
        """
        santa = cls(texts.shape[1], settings)
        if names is not None:
            santa.names.copy_(names)
        santa.memory.copy_(texts)
        centres, assign = kmeans(texts, settings.clusters, rounds, seed)
        santa.centres.copy_(centres)
        santa.assign.copy_(assign)
        return santa

    @property
    def text_mean(self) -> torch.Tensor:
        """(d,)."""
        return self.memory.mean(0)

    def members(self, cluster: int) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Memory` has it."""
        if len(self.centres) == 1:
            return self.memory, torch.arange(len(self.memory))
        places = (self.assign == cluster).nonzero().flatten()
        return self.memory[places], places

    def texts(self, places: list[int]) -> list[str]:
        """As `Memory` has it."""
        if self.captions:
            return [self.captions[place] for place in places]
        raise UsageError(
            "this model's memory holds embeddings only: build one of your captions with `mats index memory`, and give "
            "it with --memory."
        )

    @property
    def used(self) -> Memory:
        """The other memory where one was given, else its own."""
        return self if self.other is None else self.other

    @property
    def crosses(self) -> bool:
        """Whether anything is to be moved: with way=none a sound is told as it was heard."""
        return self.settings.way != "none"

    def forward(self, heard: torch.Tensor) -> torch.Tensor:
        """The settings' way across."""
        if (self.settings.way == "blend" and self.settings.blend == 0.0) or (
            self.other is None and not len(self.memory)
        ):
            return heard
        return WAYS[self.settings.way](heard, self.used, self.settings)

    def looks(self, heard: torch.Tensor) -> list[torch.Tensor]:
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
        return [first, F.normalize(torch.stack(near), dim=-1)]

    def cross(self, settings: SantaSettings, memory: Memory | None = None) -> None:
        """Another way across, or another memory. Errors: UsageError for clusters that a memory on disk does not
        have."""
        if memory is not None and settings.clusters not in (self.settings.clusters, len(memory.centres)):
            raise UsageError(
                f"clusters={settings.clusters}: this memory has {len(memory.centres)}; `mats index memory --clusters` "
                "sets them."
            )
        if memory is None and settings.clusters != len(self.centres):
            again = Santa.build(self.memory, settings, names=self.names if len(self.names) else None)
            self.centres, self.assign = again.centres, again.assign
        self.settings, self.other = settings, memory

    def near_texts(self, heard: torch.Tensor, count: int) -> list[tuple[str, float]]:
        """The captions nearest to (d,), and their cosines. Errors: UsageError where only embeddings were kept."""
        value, _, places = nearest(self.used, heard, count)
        return list(zip(self.used.texts(places.tolist()), value.tolist(), strict=True))


def heard_names(names: torch.Tensor, z: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and embeddings of the names (c, d) nearest to z (d,)."""
    value, which = (names @ z).topk(min(count, len(names)))
    return value, names[which]
