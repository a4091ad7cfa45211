"""What the published encoders share: strict loading, texts in batches of like length, an id."""

from __future__ import annotations

import hashlib
import threading
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from mats_model.clap.huggingface import LONGEST
from mats_model.clap.logmel import LogMel
from mats_model.clap.protocol import Clap
from mats_model.errors import ModelError, UsageError
from mats_model.parallel import Together
from mats_model.tensors import take
from mats_model.tokens import read_tokenizer

Texts = Sequence[str]
_ROWS = 64  # texts at once
_WINDOWS = 32  # windows at once, on a GPU
# cuDNN's flags are the process's: two threads that set them at once would leave those of one behind
_FLAGS = threading.Lock()
# sentences that nothing has in common: a text tower that gives them one vector has collapsed
_UNLIKE = (
    "a dog barks", "heavy rain on a roof", "a violin plays slowly", "a man reads out a number", "an engine starts",
    "glass breaks",
    "children laugh", "the sea",
)  # fmt: skip


def part(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors below a name, without it. Errors: ModelError when there is none."""
    found = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    if not found:
        raise ModelError(f"there is no tensor {prefix}*: this is no checkpoint of this encoder.")
    return found


class PublishedClap(nn.Module, Clap):
    """An encoder of others, with the tensors of its file."""

    kind: str
    pad: int
    front: LogMel

    def __init__(self, tokenizer_json: str | None) -> None:
        super().__init__()
        self.tokenizer_json = tokenizer_json
        self._tokenizer: object | None = None
        self._together = Together(self._hear_there, _WINDOWS)
        self._digests: dict[tuple[str, ...], tuple[list[int], str]] = {}

    @property
    @abstractmethod
    def label_scale(self) -> float:
        """cosine -> logit of the softmax over labels, as it was trained."""

    @abstractmethod
    def embed_ids(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids (n, t), padded -> (n, d)."""

    @abstractmethod
    def pieces(self, texts: Texts) -> list[list[int]]:
        """Token ids of each text, cut to what is read."""

    def fill_from(self, state: dict[str, torch.Tensor], unused: tuple[str, ...], ends: tuple[str, ...]) -> None:
        """Take every tensor. Errors: ModelError, which names what is missing, left over or of another shape."""
        given = {key: value for key, value in state.items() if not key.startswith(unused) and not key.endswith(ends)}
        own = {
            key: value
            for key, value in self.state_dict().items()
            if not key.endswith(ends) and not key.endswith(("position_ids", "token_type_ids"))
        }
        take(own, given, "the checkpoint", "it")
        self.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where it computes; sounds, ids and embeddings are the CPU's."""
        return next(self.parameters()).device

    @property
    def listeners(self) -> int:
        """Threads that keep it busy: on a GPU as many as fill what it embeds at once."""
        return super().listeners if self.device.type == "cpu" else _WINDOWS

    @abstractmethod
    def embed_waves(self, waves: torch.Tensor) -> torch.Tensor:
        """waves (w, s) -> raw embedding (w, d), where it computes."""

    def embed_windows(self, waves: np.ndarray) -> np.ndarray:
        """waves (w, s) -> raw embedding (w, d). On a CPU one at a time: so large a tower is as fast so, and a short
        sound does not wait for windows of nothing."""
        given = torch.from_numpy(np.ascontiguousarray(waves))
        if self.device.type != "cpu":
            return self._together(given).numpy()
        with torch.inference_mode():
            return torch.cat([self.embed_waves(wave[None]) for wave in given]).numpy()

    def embed_alone(self, wave: np.ndarray) -> np.ndarray:
        """One window (s,) -> raw embedding (d,)."""
        return self._hear_there(torch.from_numpy(np.ascontiguousarray(wave))[None])[0].numpy()

    @torch.inference_mode()
    def _hear_there(self, waves: torch.Tensor) -> torch.Tensor:
        # TF32 would change the third digit, and a faster kernel might be another one the next time
        with _FLAGS, torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return self.embed_waves(waves.to(self.device)).float().cpu()

    # ---- texts

    def encode(self, texts: Texts) -> list[list[int]]:
        """Token ids as the tokenizer has them. Errors: UsageError where the folder has none."""
        if self._tokenizer is None:
            if self.tokenizer_json is None:
                raise UsageError(
                    "this encoder has no tokenizer beside it: make a folder of it and a tokenizer.json with "
                    "`mats models convert`."
                )
            self._tokenizer = tokenizer = read_tokenizer(self.tokenizer_json)
            tokenizer.enable_truncation(LONGEST)
        return [each.ids for each in self._tokenizer.encode_batch(list(texts))]  # type: ignore[attr-defined]

    @torch.inference_mode()
    def embed_text(self, texts: list[str]) -> np.ndarray:
        """texts -> (n, d), unit length. Each is read once, beside others of its length, so that little is padded."""
        distinct = list(dict.fromkeys(texts))
        pieces = self.pieces(distinct)
        order = sorted(range(len(distinct)), key=lambda place: len(pieces[place]))
        made = torch.zeros(len(distinct), self.dim)
        for at in range(0, len(order), _ROWS):
            rows = order[at : at + _ROWS]
            longest = max(len(pieces[row]) for row in rows)
            ids = torch.tensor([pieces[row] + [self.pad] * (longest - len(pieces[row])) for row in rows])
            made[rows] = torch.nn.functional.normalize(self.embed_ids(ids.to(self.device)), dim=-1).float().cpu()
        where = {text: place for place, text in enumerate(distinct)}
        return made[[where[text] for text in texts]].numpy()

    def collapsed(self) -> bool:
        """Whether the text tower says the same of everything, as that of one published checkpoint does."""
        vectors = self.embed_text(list(_UNLIKE))
        return float(vectors.std(0).mean()) < 0.01 / self.dim**0.5

    # ---- who it is

    def audio_side(self) -> dict[str, torch.Tensor]:
        """Its tensors, by name, without those of the text side."""
        return {key: value for key, value in self.state_dict().items() if key.startswith("audio_")}

    def _digest(self, names: tuple[str, ...]) -> str:
        """Of the tensors whose names begin so; computed once, and again after a tensor was written to."""
        held = {
            key: value
            for key, value in sorted(self.state_dict().items())
            if key.startswith(names) and value.is_floating_point()
        }
        versions = [value._version for value in held.values()]
        if names not in self._digests or self._digests[names][0] != versions:
            digest = hashlib.sha256(self.kind.encode())
            for key, value in held.items():
                digest.update(key.encode() + value.half().cpu().contiguous().numpy().tobytes())
            self._digests[names] = (versions, digest.hexdigest())
        return self._digests[names][1]

    @property
    def space(self) -> str:
        """Id of the text side."""
        return self._digest(("text_", "caption_"))[:12]

    @property
    def id(self) -> str:
        """Id of front end, windows and both sides' weights."""
        said = (
            f"{self.kind} {self.front.spec} {self.front.spec.scale} {self.window} {self.fill} {self.space} "
            f"{self._digest(('audio_',))}"
        )
        return hashlib.sha256(said.encode()).hexdigest()[:12]
