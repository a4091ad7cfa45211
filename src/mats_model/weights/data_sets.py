"""Text that recipes train on, by name: whose it is, under which terms, where it lies, and which of it is never trained
on.

What is trusted is the SHA-256. The commits are those of the files at their addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

WORDS = Path(__file__).parents[1] / "words"  # texts that come with mats
_RAW = "https://raw.githubusercontent.com"
_CLOTHO = "https://zenodo.org/records/4783391"


@dataclass(frozen=True)
class DataSet:
    """One table of text; `file` is where it lies below a folder of such files."""

    name: str
    file: str
    rows: int
    columns: tuple[str, ...]
    licence: str
    page: str = ""  # where the terms are
    url: str = ""  # "": it lies inside mats
    commit: str = ""  # in the address; "" where it has none
    digest: str = ""  # SHA-256 of the file
    size: int = 0  # bytes
    header: bool = True  # whether the first row of a CSV names its columns
    evaluation: bool = False  # others measure with it: it is never trained on
    remark: str = ""

    @property
    def inside(self) -> Path | None:
        """Its file, where it comes with mats."""
        return None if self.url else WORDS / self.file

    @property
    def megabytes(self) -> float:
        size = self.size or (WORDS / self.file).stat().st_size
        return max(round(size / 1e6, 1), 0.1)


def _audiocaps(part: str, rows: int, digest: str, size: int) -> DataSet:
    commit = "d004db3ea1b01cf4fd0347dd8d27db90cadc8809"
    return DataSet(
        f"audiocaps/{part}", f"captions/audiocaps_v1_{part}.csv", rows,
        ("audiocap_id", "youtube_id", "start_time", "caption"), "MIT", "https://github.com/cdjkim/audiocaps",
        f"{_RAW}/cdjkim/audiocaps/{commit}/dataset/{part}.csv", commit, digest, size, evaluation=part != "train",
        remark="captions of sounds (Kim et al. 2019), the first version",
    )  # fmt: skip


def _clotho(part: str, rows: int, digest: str, size: int) -> DataSet:
    return DataSet(
        f"clotho/{part}", f"captions/clotho_{part}.csv", rows,
        ("file_name", *(f"caption_{number}" for number in range(1, 6))),
        "non-commercial, with attribution; see its page", _CLOTHO,
        f"{_CLOTHO}/files/clotho_captions_{part}.csv", "", digest, size, evaluation=part == "evaluation",
        remark="version 2.1, five captions a sound (Drossos et al. 2020)",
    )  # fmt: skip


_ALL = (
    _audiocaps("train", 49838, "c0c5223db682b3bf724ce7e7ce58d5b36929f74572e8526a7211f92d2eef7c8e", 3576723),
    _audiocaps("val", 2475, "dab1c96641d5f3053ddb99dca3949450da9a75737bda53e11cc0aa8b102be0c3", 171918),
    _audiocaps("test", 4875, "b91c4b7ded2f4f6e7db5b9c4983dc1e1dca3d556f505b61e3fd65cac7e1c638a", 402246),
    DataSet(
        "musiccaps", "captions/musiccaps-public.csv", 5521,
        ("ytid", "start_s", "end_s", "audioset_positive_labels", "aspect_list", "caption", "author_id",
         "is_balanced_subset", "is_audioset_eval"),
        "CC-BY-SA-4.0", "https://www.kaggle.com/datasets/googleai/musiccaps",
        f"{_RAW}/ChungHaLee/music-lm-retrieval/86197e1b58114acc3ca831f04d7987971a19d34e/musiccaps-public.csv",
        "86197e1b58114acc3ca831f04d7987971a19d34e",
        "bce5500709e6b129e070cbffc28caefe6b3d6977b2073493ee9b48806096c034", 2939488,
        remark="captions of music (Agostinelli et al. 2023), from a copy in a public repository",
    ),
    DataSet(
        "vggsound/labels", "captions/vggsound_stat.csv", 309, ("label", "count", "group"), "CC-BY-4.0",
        "https://github.com/hche11/VGGSound",
        f"{_RAW}/hche11/VGGSound/9bbc7491c054a203e53584c0065df336e1322bb7/data/stat.csv",
        "9bbc7491c054a203e53584c0065df336e1322bb7",
        "981445307f3b9ebc2b0e65641daaac1359496b7a8f17208348e7fc8e2696b6d5", 9204, header=False,
        remark="names of its classes (Chen et al. 2020)",
    ),
    _clotho("development", 3839, "df2e5b92060b4bb23311f8b3a7f82241d900b9c4f62b0cc467ac2ce5e9c52886", 1336762),
    _clotho("evaluation", 1045, "0e116233909a57449572b2d67d4c7a2f7df5b7a88c918f3697e61f684e664e84", 361995),
    DataSet(
        "audioset/ontology", "captions/audioset_ontology.json", 632, ("id", "name", "description", "child_ids"),
        "CC-BY-SA-4.0", "https://github.com/audioset/ontology",
        f"{_RAW}/audioset/ontology/d417d32bf59c711abb5910fd2f76a0eb44697991/ontology.json",
        "d417d32bf59c711abb5910fd2f76a0eb44697991",
        "9c685f4403eecc3ca9be37fd7285cf212feaaea6ff7229d3e7ca89e0d1f2d15d", 342780,
        remark="classes of sound with descriptions (Gemmeke et al. 2017)",
    ),
    DataSet(
        "audioset/labels", "tags.csv", 527, ("index", "name", "phrases"), "CC-BY-4.0",
        "https://research.google.com/audioset/download.html",
        remark="names of its 527 classes, and phrases for them that were written for mats",
    ),
    DataSet(
        "ucs", "captions/ucs_en.json", 752, ("CatID", "Category", "SubCategory", "Explanations", "Synonyms"), "CC0-1.0",
        "https://github.com/iluvcapra/ucs-community",
        f"{_RAW}/iluvcapra/ucs-community/be76ca320181d209fd2ceb9ab3fb1c59842e52ae/json/en.json",
        "be76ca320181d209fd2ceb9ab3fb1c59842e52ae",
        "71c9a8d26b0bc610ba95db7bec6c16a3ce63f6133a70c2bb54f9ae4b9d8a6896", 436735,
        remark="the Universal Category System 8.2.1 of sound effects, explained",
    ),
    DataSet(
        "mats/plain", "plain.csv", 2543, ("index", "name", "caption"), "MIT",
        remark="plain captions for AudioSet's classes, written for mats",
    ),
)  # fmt: skip
DATA_SETS = {each.name: each for each in _ALL}
