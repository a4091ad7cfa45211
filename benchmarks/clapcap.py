"""clapcap here and in Microsoft's own code: the miniature of tests/test_clapcap.py, random embeddings, their mapper,
GPT-2 and beam search.

    git clone https://github.com/microsoft/CLAP
    python benchmarks/clapcap.py --original CLAP [--sharper 4]

Of their package two files are used: msclap/models/mapper.py as it is, and of msclap/CLAPWrapper.py the beam search
alone, since the rest wants torchaudio. `--sharper` multiplies the last norm of GPT-2, so that its logits are surer.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from test_clapcap import CLIP, LAYERS, PREFIX, WIDTH, D, make

from mats_model.llm.prompts import Question
from mats_model.weights.clapcap import convert_clapcap
from mats_model.weights.encoders import read_tensors
from mats_model.weights.loading import load_folder


def original(folder: Path) -> tuple[Any, Any]:
    """Their captioner's class, and their beam search."""
    spec = importlib.util.spec_from_file_location("their_mapper", folder / "msclap" / "models" / "mapper.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = folder / "msclap" / "CLAPWrapper.py"
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == "_generate_beam"
    ]
    space: dict[str, Any] = {"torch": torch, "np": np}
    exec(compile(ast.Module(list(functions), []), str(path), "exec"), space)
    return module.ClapCaptionModel, space["_generate_beam"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--original", type=Path, required=True, metavar="DIR")
    parser.add_argument("--captions", type=int, default=200)
    parser.add_argument("--sharper", type=float, default=2.0)
    wanted = parser.parse_args()
    captioner, beam_search = original(wanted.original)
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        files = Path(place)
        make(files)
        state = read_tensors(files / "clapcap_weights_2023.pth")
        for key in ("gpt.transformer.ln_f.weight", "gpt.transformer.ln_f.bias"):
            state[key] = state[key] * wanted.sharper
        convert_clapcap(state, files / "ours", "tiny", str(files / "gpt2"), str(files / "CLAP_weights_2023.pth"))
        ours = load_folder(files / "ours")
        ears = SimpleNamespace(audio_encoder=torch.nn.Identity())
        theirs = captioner(ears, str(files / "gpt2"), PREFIX, CLIP, D, LAYERS, True, "transformer")
        theirs.load_state_dict(
            {key: value for key, value in state.items() if not key.startswith("clap.")}, strict=False
        )
        theirs.eval()
        llm: Any = ours.llm
        words = SimpleNamespace(
            encode=lambda text: llm.tokenizer(text, add_special_tokens=False)["input_ids"], decode=llm.tokenizer.decode
        )
        them = SimpleNamespace(clapcap=theirs, tokenizer=words)
        heard = torch.nn.functional.normalize(
            torch.randn(wanted.captions, D, generator=torch.Generator().manual_seed(7)), dim=-1
        )
        first, second = theirs.clap_project(heard).view(-1, PREFIX, WIDTH), ours.hear(heard.numpy())
        print(f"prefix, largest difference {float((first - second).abs().max()):.1e} of {float(first.abs().max()):.1f}")
        logits = [gpt(inputs_embeds=prefix).logits for gpt, prefix in ((theirs.gpt, first), (llm.base, second))]
        print(
            f"logits, largest difference {float((logits[0] - logits[1]).abs().max()):.1e} of "
            f"{float(logits[0].abs().max()):.1f}"
        )
        for beams in (1, 5):
            # theirs may say nothing at all, which ours may not unless it is allowed to
            settings = replace(ours.config.search, beams=beams, min_new_tokens=0)
            mine = [row[0].text for row in llm.answers(second, Question(), settings)]
            told = [
                beam_search(them, embed=first[row : row + 1], beam_size=beams)[0].strip() for row in range(len(heard))
            ]
            unlike = [row for row in range(len(heard)) if mine[row] != told[row]]
            scores = [
                (_score(llm, second[row], mine[row]), _score(llm, second[row], told[row]))
                for row in unlike
                if mine[row] and told[row]
            ]
            higher = sum(a > b for a, b in scores)
            print(
                f"{beams} beams: {len(heard) - len(unlike)} of {len(heard)} captions alike; of the others ours scores "
                f"higher in {higher}"
            )


def _score(llm: Any, prefix: torch.Tensor, text: str) -> float:
    """The mean log-probability of a text's tokens after a prefix (p, h)."""
    ids = torch.tensor(llm.tokenizer(text, add_special_tokens=False)["input_ids"], dtype=torch.long)
    inputs = torch.cat([prefix, llm.base.get_input_embeddings()(ids)])[None]
    told = llm.base(inputs_embeds=inputs).logits[0, len(prefix) - 1 : -1].log_softmax(-1)
    return float(told.gather(-1, ids[:, None]).mean())


if __name__ == "__main__":
    main()
