"""LAION's own package without a network: a hub cache with miniature tokenizers, a file of the package's own tensors
filled by formula.

`python tests/reference.py FILE AMODEL` (in a process of its own, with HF_HOME at the cache) makes FILE and, beside it,
what the package says of sounds and texts: `theirs.npz`.
"""

from __future__ import annotations

import io
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import soundfile
import torch
from formula import filled, wave

TEXTS = [
    "dog", "a dog barks", "Heavy RAIN, on a roof!", "müßig 音楽 ✓", "  two  spaces ", "the sea " * 60, "", "a\nb",
    "dog",
]  # fmt: skip
COMMIT = "0" * 40


def sounds() -> dict[str, np.ndarray]:
    """Unlike each other, since formula weights hear little difference between like ones: (s,) at 48 kHz."""
    t = np.arange(25 * 48_000) / 48_000
    tone = 0.5 * np.sin(2 * np.pi * 3000 * t)
    pulses = 0.5 * np.sin(2 * np.pi * 900 * t) * (np.sin(4 * np.pi * t) > 0)
    short = wave(48_000, 1, 1)
    return {
        key: value.astype(np.float32)
        for key, value in {
            "1": pulses[:48_000],
            "0.3": short[:14_400],
            "10": tone[:480_000],
            "25": pulses * t / 25,
        }.items()
    }


def encoded(sound: np.ndarray) -> bytes:
    """A sound's file."""
    sink = io.BytesIO()
    soundfile.write(sink, sound, 48_000, format="WAV", subtype="FLOAT")
    return sink.getvalue()


def hub(home: Path) -> str:
    """The three repositories that the package asks for, in the layout of the hub's cache -> tokenizer.json of
    roberta-base."""
    from safetensors.torch import save_file
    from tokenizers import ByteLevelBPETokenizer, Tokenizer, decoders, models, pre_tokenizers, processors

    def repository(name: str, config: dict[str, object]) -> Path:
        folder = home / "hub" / f"models--{name.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(COMMIT)
        snapshot = folder / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text(json.dumps(config))
        return snapshot

    bert = repository("bert-base-uncased", {"model_type": "bert"})
    (bert / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog"]))
    roberta = repository(
        "roberta-base",
        {
            "model_type": "roberta",
            "vocab_size": 50_265,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
        },
    )
    # all of its weights come from the file; the library draws what is not here
    save_file({"embeddings.LayerNorm.bias": torch.zeros(768)}, roberta / "model.safetensors", metadata={"format": "pt"})
    trained = ByteLevelBPETokenizer()
    marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(
        [" ".join(TEXTS) * 3], vocab_size=400, min_frequency=2, special_tokens=marks, show_progress=False
    )
    for folder in (roberta, repository("facebook/bart-base", {"model_type": "bart"})):
        trained.save_model(str(folder))
    whole = Tokenizer(models.BPE.from_file(str(roberta / "vocab.json"), str(roberta / "merges.txt")))
    whole.pre_tokenizer, whole.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    whole.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    whole.save(str(roberta / "tokenizer.json"))
    return whole.to_str()


def make(file: Path, amodel: str, fused: bool) -> None:
    """A checkpoint as LAION's training writes it."""
    from mats_model.clap.huggingface import hush

    hush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import laion_clap

        own = laion_clap.CLAP_Module(enable_fusion=fused, device="cpu", amodel=amodel).model.state_dict()
    tensors = {f"module.{key}": value for key, value in filled(own).items()}
    tensors["module.text_branch.embeddings.position_ids"] = torch.arange(514)[
        None
    ]  # older versions of transformers kept it
    torch.save({"epoch": 15, "name": "x", "loss": np.float64(1.5), "state_dict": tensors}, file)


def main(file: Path, amodel: str) -> None:
    """See above."""
    from mats_model.clap.protocol import ORIGINAL
    from mats_model.weights.loading import load_ears

    torch.set_num_threads(1)
    make(file, amodel.removesuffix("-fused"), amodel.endswith("-fused"))
    ears = load_ears(f"{ORIGINAL}{file}")
    said = {f"heard {name}": ears.embed_audio(encoded(sound)) for name, sound in sounds().items()}
    # the package alone, whose own way with short sounds it is
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, sound in sounds().items():
            if len(sound) <= 480_000:
                said[f"alone {name}"] = ears.clap.model.get_audio_embedding_from_data(
                    x=torch.from_numpy(sound)[None], use_tensor=True
                )[0].numpy()
    said |= {"texts": ears.clap.embed_text(TEXTS), "text": ears.clap.embed_text(TEXTS[:1])}
    said["scale"] = np.array(ears.scales.label)
    np.savez(file.parent / "theirs.npz", **said)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
