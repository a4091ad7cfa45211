"""LAION's CLAP here and in transformers: the same random weights of clap-htsat-unfused's sizes, the same files,
decoding included, in one run.

    python benchmarks/clap.py --data DATA

Ours is what `mats classify` and `mats index library` run; theirs is ClapFeatureExtractor and ClapModel in batches of
eight, on a GPU (--device cuda) of 32. Texts: ours in one call, theirs in a loop over the labels, measured on some and
scaled.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import torch
from common import arguments, esc10, machine

LABELS = 10_000


def theirs_audio(model: object, extractor: object, paths: list[Path], device: str) -> torch.Tensor:
    import soundfile
    import soxr

    made, rows = [], 8 if device == "cpu" else 32
    for at in range(0, len(paths), rows):
        waves = []
        for path in paths[at : at + rows]:
            wave, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
            waves.append(soxr.resample(wave.mean(1), sample_rate, 48_000))
        inputs = extractor(waves, sampling_rate=48_000, return_tensors="pt").to(device)  # type: ignore[operator]
        with torch.inference_mode():
            made.append(model.get_audio_features(**inputs).pooler_output.cpu())  # type: ignore[attr-defined]
    return torch.nn.functional.normalize(torch.cat(made), dim=-1)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--labels", type=int, default=LABELS)
    parser.add_argument("--loop", type=int, default=200, help="labels of the naive loop")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    wanted = parser.parse_args()
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    from mats_model.audio.folders import find_sounds
    from mats_model.clap.laion import LaionClap, from_transformers
    from mats_model.ears import Ears
    from mats_model.many import listen_all
    from mats_model.weights.encoders import scales

    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(0)
    model = transformers.ClapModel(transformers.ClapConfig()).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("batch_norm.running_mean"):
            buffer.fill_(-40.0)
        elif name.endswith("batch_norm.running_var"):
            buffer.fill_(200.0)
    extractor = transformers.ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc")
    words = ["<s>", "<pad>", "</s>", "<unk>", *(f"w{number}" for number in range(996))]
    raw = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    clap = LaionClap(from_transformers(model.state_dict()), raw.to_str())
    clap.to(wanted.device), model.to(wanted.device)
    ears = Ears(clap, scales(clap))
    paths = [clip.path for clip in esc10(wanted.data)][:: 400 // wanted.clips][: wanted.clips]
    times: dict[str, list[float]] = {"transformers": [], "mats": []}
    threads = torch.get_num_threads()
    ours = theirs = torch.zeros(0)
    for _ in range(wanted.rounds):
        torch.set_num_threads(threads)
        began = time.perf_counter()
        theirs = theirs_audio(model, extractor, paths, wanted.device)
        times["transformers"].append(len(paths) / (time.perf_counter() - began))
        began = time.perf_counter()
        heard = [
            one.heard[0].embedding for one in listen_all(ears, find_sounds(str(path) for path in paths).items, None)
        ]
        times["mats"].append(len(paths) / (time.perf_counter() - began))
        ours = torch.from_numpy(np.stack([vector for vector in heard if vector is not None]))
    rates = {name: statistics.median(values) for name, values in times.items()}
    pairs = [mine / other for mine, other in zip(times["mats"], times["transformers"], strict=True)]
    print(f"{machine()}, {wanted.device}\n")
    print("| audio, clips a second | median | rounds |\n|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {rates[name]:.2f} | {', '.join(f'{value:.2f}' for value in values)} |")
    print(
        f"\nratio {statistics.median(pairs):.2f}; least cosine between the two "
        f"{float((ours * theirs).sum(-1).min()):.6f}\n"
    )
    torch.set_num_threads(threads)
    generator = np.random.default_rng(0)
    labels = [
        " ".join(f"w{number}" for number in generator.integers(0, 996, generator.integers(1, 7)))
        for _ in range(wanted.labels)
    ]
    began = time.perf_counter()
    clap.embed_text(labels)
    mine = time.perf_counter() - began
    began = time.perf_counter()
    with torch.inference_mode():
        for label in labels[: wanted.loop]:
            ids = torch.tensor([raw.encode(label).ids], device=wanted.device)
            model.get_text_features(input_ids=ids, attention_mask=torch.ones_like(ids))
    loop = (time.perf_counter() - began) / wanted.loop * len(labels)
    print(
        f"{len(labels)} labels: {mine:.1f} s here, {loop:.1f} s one by one ({wanted.loop} measured): "
        f"{loop / mine:.1f} times as fast"
    )


if __name__ == "__main__":
    main()
