"""Data flows one way: a module imports only what stands before it, at any depth of the file."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

LONGEST = 60  # lines of a function, without its signature and docstring
SRC = Path(__file__).parent.parent / "src"
MODEL = (
    "errors files settings config tokens vectors labels english tensors places extras threads onnx device parallel "
    "captions tables"
    " audio.item audio.view audio.chunks audio.promise audio.mpeg audio.ogg audio.find audio.folders "
    "audio.ffmpeg audio.mix "
    "audio.decode audio.window audio.write audio.level audio.picture audio.began"
    " clap.protocol clap.mels clap.logmel clap.layers clap.spectrum clap.hearing clap.text clap.nano "
    "clap.tower clap.nano_audio clap.htsat "
    "clap.huggingface clap.published clap.laion clap.msclap clap.original"
    " gap.noise gap.kmeans gap.taught gap.santa gap.memory gap.build claims numpy_layers numpy_mapper mapper"
    " llm.prompts llm.answering llm.words llm.graph_decoder llm.beam llm.numpy_llm llm.protocol llm.decoder "
    "llm.small llm.int8 llm.lora llm.huggingface llm.bases"
    " shown together ears stretches judge mats summary many"
    " weights.data_sets weights.catalogue weights.resolve weights.encoders weights.folder weights.loading "
    "weights.authors weights.clapcap weights.convert weights.connect weights.fetch weights.hub weights.pull"
    " weights.bundle"
    " library.database library.records "
    "library.store library.export library.search library.crawl library.changes library.update "
    "library.describe"
    " live.ring live.stream live.events live.diary live.diarist live.clips live.excerpt "
    "live.questions live.tape live.hearing live.talk"
    " evaluate.words evaluate.metrics training.dialogues training.texts training.sources "
    "training.values training.recipe training.compare "
    "training.embeddings training.events training.recall training.pace "
    "training.batches training.begin training.prepare training.tune "
    "training.processes training.step training.average training.looks training.checkpoints training.loop"
    " training.trial training.estimate training.plan"
)
TEACH = "teacher clips wild examples parts listen minilm phrases align calibrate retell carry nano"
# all that is judged stands last: the sentence similarity borrows minilm of those who teach
EVALUATE = "intervals examples sets hearing task naming classes retrieval captions answers events evaluation worst run"
CLI = (
    "formats completing helptext tracks timeline documents pages.page pages.training "
    "pages.sounds signals console inputs labels hits "
    "journal options loading job "
    "curve report plan microphone chat.status chat.session "
    "chat.commands chat.screen chat.verb starter diary listen caption classify"
    " index.library index.memory index.tune index.verb search train models results "
    "pages.charts pages.faults pages.evaluation truth judging evaluate main generated __main__"
)
ORDER = (
    ["mats_model." + name for name in MODEL.split()]
    + ["mats_model.teach." + name for name in TEACH.split()]
    + ["mats_model.evaluate." + name for name in EVALUATE.split()]
    + ["mats_cli." + name for name in CLI.split()]
)
# the map imports the registry inside its one function
DOORS = {"soundfile": {"mats_model.audio.decode", "mats_model.audio.write", "mats_model.teach.clips"}}
DOORS["soundfile"] |= {"mats_model.teach.examples"}
DOORS |= {
    "soxr": {"mats_model.audio.mix", "mats_model.teach.clips", "mats_model.teach.examples"},
    "av": {"mats_model.audio.ffmpeg"},
}
DOORS |= {
    "safetensors": {
        "mats_model." + name
        for name in ("tensors", "weights.folder", "weights.encoders", "weights.convert", "teach.minilm")
    }
}
DOORS |= {
    "typer": {"mats_cli." + name for name in CLI.split()},
    "tqdm": {"mats_cli.console"},
    "yaml": {"mats_model.training.values", "mats_model.training.recipe", "mats_model.training.compare"},
}
# these are asked for by name: need("peft")
DOORS |= {"peft": {"mats_model.llm.lora"}}
DOORS |= {name: {"mats_model.llm.bases"} for name in ("bitsandbytes", "gguf")}
DOORS |= {"laion_clap": {"mats_model.clap.original"}}
DOORS |= {
    "transformers": {
        "mats_model." + name for name in ("extras", "llm.huggingface", "llm.bases", "clap.huggingface", "clap.original")
    }
}
DOORS |= {
    "sounddevice": {"mats_cli.microphone"},
    "prompt_toolkit": {"mats_cli.chat.screen"},
    "matplotlib": {"mats_cli.curve"},
    "accelerate": {"mats_model.training.processes"},
}


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(SRC).with_suffix("").parts): path
        for path in sorted(SRC.rglob("*.py"))
        if path.name != "__init__.py"
    }


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("need", "import_module"):
                names.add(str(node.args[0].value))
    return names


def test_every_module_has_its_place() -> None:
    assert sorted(modules()) == sorted(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_imports_point_backward(name: str) -> None:
    later = set(ORDER[ORDER.index(name) :]) - {name}
    assert not imported(modules()[name]) & later


@pytest.mark.parametrize("library", sorted(DOORS))
def test_one_door_for_each_library(library: str) -> None:
    users = {name for name, path in modules().items() if any(i.split(".")[0] == library for i in imported(path))}
    assert users and users <= DOORS[library]


def test_library_is_silent() -> None:
    for name, path in modules().items():
        if name.startswith("mats_model."):
            calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
            assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"], name


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of what it does; a verb may declare twenty options before that, and say what they are for."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_functions_are_read_at_one_go() -> None:
    long = {
        f"{name}.{node.name}: {lines_of(node)}"
        for name, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and lines_of(node) > LONGEST
    }
    assert not long


def options_named(path: Path) -> list[str]:
    """Sentences in which an option of the command line is named; what is passed to another program is no sentence."""
    said = [
        node.value
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return [" ".join(text.split()) for text in said if re.search(r"(?<![\w-])--[a-z]", text) and " " in text.strip()]


def test_an_option_in_a_sentence_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text('"""Set --every."""\nrun(["pip", "--no-deps"])\nprint(f"{1} needs\\n --every 2")\n', "utf-8")
    assert options_named(file) == ["Set --every.", "needs --every 2"]


def test_the_library_names_no_option_of_the_program() -> None:
    found = {
        name: said
        for name, path in modules().items()
        if name.startswith("mats_model.") and (said := options_named(path))
    }
    assert not found
