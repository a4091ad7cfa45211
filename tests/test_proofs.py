"""The harness against the programs that others trust, where they are installed, and against values that they gave; and
for each task an oracle and one whose answers were shuffled."""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mats_model.evaluate import answers, captions, classes, events, retrieval
from mats_model.evaluate.metrics import bleu, bleu_counts, cider_d, rouge_l
from mats_model.evaluate.words import caption_words

LABELS = ["dog", "rain", "bell", "car"]
COUNT = 400


def figures(module: ModuleType, records: list[dict[str, Any]], protocol: dict[str, Any]) -> dict[str, float]:
    ones = np.ones(len(records))
    return {name: statistic(ones) for name, statistic in module.statistics(records, protocol).items()}


def shuffled(things: list[Any]) -> list[Any]:
    """The same things, each somewhere else."""
    return random.Random(0).sample(things, len(things))


# ---- an oracle and one who guesses


def of_classes(told: list[int], guessed: list[int]) -> dict[str, float]:
    records = [
        {
            "key": str(row), "labels": [LABELS[right]], "cosines": np.eye(4)[guess].tolist(),
            "answer": LABELS[guess], "generated": LABELS[guess], "by_words": True, "together": LABELS[guess],
        }
        for row, (right, guess) in enumerate(zip(told, guessed, strict=True))
    ]  # fmt: skip
    protocol = {"labels": LABELS, "several": False, "scale": 100.0, "synonyms": {label: [label] for label in LABELS}}
    return figures(classes, records, protocol)


def test_classes() -> None:
    told = [row % 4 for row in range(COUNT)]
    perfect, guessed = of_classes(told, told), of_classes(told, shuffled(told))
    for name in ("top1", "mean_recall", "macro_f1", "mAP", "generated_top1", "generated_by_words", "together_top1",
                 "generated_names_it"):  # fmt: skip
        assert perfect[name] == 1.0 and guessed[name] == pytest.approx(0.25, abs=0.06), name
    assert perfect["ECE"] == pytest.approx(0, abs=1e-6) and guessed["ECE"] == pytest.approx(0.75, abs=0.06)


def of_captions(said: list[str], told: list[str]) -> dict[str, float]:
    pairs = enumerate(zip(said, told, strict=True))
    return figures(captions, [{"key": str(row), "said": one, "captions": [two]} for row, (one, two) in pairs], {})


def test_captions() -> None:
    told = [f"sound{row} is heard behind thing{row}" for row in range(COUNT)]
    perfect, guessed = of_captions(told, told), of_captions(shuffled(told), told)
    assert [perfect[name] for name in ("CIDEr-D", "BLEU-4", "ROUGE-L")] == pytest.approx([10, 1, 1])
    # two words of five name nothing, and are worth nothing to CIDEr-D
    assert guessed["CIDEr-D"] < 0.1 and guessed["ROUGE-L"] == pytest.approx(3 / 5, abs=0.01)


def test_retrieval() -> None:
    def of(ranks: list[int]) -> dict[str, float]:
        rows = [{"key": str(row), "sound_ranks": [rank], "caption_ranks": [rank]} for row, rank in enumerate(ranks)]
        return figures(retrieval, rows, {})

    assert set(of([1] * COUNT).values()) == {1.0}
    guessed = of(shuffled(list(range(1, COUNT + 1))))
    for depth in (1, 5, 10):
        assert guessed[f"text_to_audio_R@{depth}"] == guessed[f"audio_to_text_R@{depth}"] == depth / COUNT


def test_answers() -> None:
    def of(said: list[str], told: list[str]) -> dict[str, float]:
        rows = [
            {"key": str(row), "question": "?", "answer": answer, "options": LABELS, "said": [one, one],
             "without_audio": LABELS[0]}
            for row, (one, answer) in enumerate(zip(said, told, strict=True))
        ]  # fmt: skip
        return figures(answers, rows, {})

    told = [LABELS[row % 4] for row in range(COUNT)]
    perfect, guessed = of(told, told), of(shuffled(told), told)
    assert perfect["accuracy"] == perfect["accuracy_permuted"] == perfect["consistency"] == 1.0
    assert guessed["accuracy"] == pytest.approx(guessed["chance"], abs=0.06) and guessed["chance"] == 0.25
    # who hears nothing and says the same each time is right as often as that is true
    assert perfect["accuracy_without_audio"] == 0.25


def test_events() -> None:
    frames = [[second, second + 1] for second in range(10)]
    rng = np.random.default_rng(0)
    told = [int(rng.integers(0, 8)) for _ in range(COUNT)]

    def of(found: list[int]) -> dict[str, float]:
        rows = [
            {"key": str(row), "events": [[right, right + 2, "dog"]], "frames": frames,
             "scores": [[float(guess <= start < guess + 2)] for start, _ in frames]}
            for row, (right, guess) in enumerate(zip(told, found, strict=True))
        ]  # fmt: skip
        return figures(events, rows, {"labels": ["dog"], "threshold": 0.5})

    assert set(of(told).values()) == {1.0}
    assert of(shuffled(told))["event_F1"] == pytest.approx(1 / 8, abs=0.05)


# ---- scikit-learn

AP = 0.5217065152670948  # of 1.9.1


def hits() -> tuple[np.ndarray, np.ndarray]:
    """Three hundred recordings with equal scores among them: truth (n, c) and scores (n, c)."""
    rng = np.random.default_rng(11)
    truth = rng.integers(0, 4, 300)
    return np.eye(4, dtype=bool)[truth], np.round(rng.normal(size=(300, 4)) + np.eye(4)[truth], 1)


def test_average_precision_and_f1_are_scikit_learn_s() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    truth, scores = hits()
    ours = classes.mean_precision(truth, scores)
    assert ours(np.ones(300)) == pytest.approx(metrics.average_precision_score(truth, scores, average="macro"))
    weights = np.random.default_rng(5).integers(0, 4, 300).astype(float)
    theirs = metrics.average_precision_score(truth, scores, average="macro", sample_weight=weights)
    assert ours(weights) == pytest.approx(theirs)
    right, guess = truth.argmax(1), scores.argmax(1)
    records = [
        {"key": str(row), "labels": [LABELS[one]], "cosines": scores[row].tolist()} for row, one in enumerate(right)
    ]
    found = figures(classes, records, {"labels": LABELS, "several": False, "scale": 1.0})
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(right, guess, average="macro"))
    assert found["mean_recall"] == pytest.approx(metrics.balanced_accuracy_score(right, guess))


def test_average_precision_is_what_scikit_learn_gave() -> None:
    truth, scores = hits()
    assert classes.mean_precision(truth, scores)(np.ones(300)) == pytest.approx(AP, abs=1e-12)


# ---- pycocoevalcap

# of 1.2
CIDER, ROUGE = 0.39769446454906804, 0.3410368635261867
BLEU = [0.44557823129213814, 0.32893587872350916, 0.2469419325641149, 0.1710872393152718]


def sentences() -> tuple[list[str], list[list[str]]]:
    """Two hundred answers, and two to five references of each, in few words so that they share many."""
    draw = random.Random(3)
    who = "a dog;the dog;rain;a man;two birds;an engine;the old bell;water;people;a car".split(";")
    does = "barks;is barking;falls;speaks;sings;hums loudly;rings twice;drips;talk and laugh;passes by".split(";")
    where = "on a roof;in a large room;while birds chirp;far away;;and then stops;in the background;outside".split(";")

    def one() -> str:
        return " ".join(f"{draw.choice(who)} {draw.choice(does)} {draw.choice(where)}".split())

    return [one() for _ in range(200)], [[one() for _ in range(draw.randint(2, 5))] for _ in range(200)]


def test_captions_score_as_by_pycocoevalcap() -> None:
    reason = "pycocoevalcap is not installed"
    said, told = sentences()
    res = {row: [" ".join(caption_words(text))] for row, text in enumerate(said)}
    gts = {row: [" ".join(caption_words(text)) for text in some] for row, some in enumerate(told)}
    score, each = pytest.importorskip("pycocoevalcap.cider.cider", reason=reason).Cider().compute_score(gts, res)
    assert cider_d(said, told) == pytest.approx(each, abs=1e-9)
    four, _ = pytest.importorskip("pycocoevalcap.bleu.bleu", reason=reason).Bleu(4).compute_score(gts, res, verbose=0)
    sums = sum(bleu_counts(*pair) for pair in zip(said, told, strict=True))
    assert bleu(np.asarray(sums)) == pytest.approx(four, abs=1e-9)
    _, each = pytest.importorskip("pycocoevalcap.rouge.rouge", reason=reason).Rouge().compute_score(gts, res)
    assert [rouge_l(*pair) for pair in zip(said, told, strict=True)] == pytest.approx(list(each), abs=1e-9)
    assert score == pytest.approx(CIDER, abs=1e-9)


def test_captions_score_as_pycocoevalcap_gave() -> None:
    said, told = sentences()
    assert np.mean(cider_d(said, told)) == pytest.approx(CIDER, abs=1e-9)
    sums = sum(bleu_counts(*pair) for pair in zip(said, told, strict=True))
    assert bleu(np.asarray(sums)) == pytest.approx(BLEU, abs=1e-9)
    assert np.mean([rouge_l(*pair) for pair in zip(said, told, strict=True)]) == pytest.approx(ROUGE, abs=1e-9)


# ---- sed_eval


def detected() -> list[dict[str, Any]]:
    """Twenty recordings of ten seconds with events of two labels, and a middling detector."""
    rng = np.random.default_rng(8)
    frames = [[step / 2, (step + 1) / 2] for step in range(20)]
    records = []
    for number in range(20):
        told = [
            [float(at), float(at + rng.integers(1, 3)), LABELS[k]]
            for k in range(2)
            for at in (0, 3, 6)
            if rng.random() < 0.7
        ]
        scores = np.array(
            [
                [max((float(a <= s < b) for a, b, x in told if x == label), default=0.0) for label in LABELS[:2]]
                for s, _ in frames
            ]
        )
        scores = 0.7 * scores + rng.random(scores.shape) * 0.45
        records.append({"key": str(number), "events": told, "frames": frames, "scores": scores.tolist()})
    return records


def test_events_are_counted_as_by_sed_eval() -> None:
    sed_eval = pytest.importorskip("sed_eval", reason="sed_eval is not installed")
    records, labels = detected(), LABELS[:2]
    by_event = sed_eval.sound_event.EventBasedMetrics(event_label_list=labels, t_collar=0.2, percentage_of_length=0.2)
    by_segment = sed_eval.sound_event.SegmentBasedMetrics(event_label_list=labels, time_resolution=1.0)

    def listed(some: list[Any], key: str) -> list[dict[str, Any]]:
        return [{"onset": a, "offset": b, "event_label": label, "filename": key} for a, b, label in some]

    for row in records:
        told, found = listed(row["events"], row["key"]), listed(events.found_events(row, labels, 0.5), row["key"])
        for metric in (by_event, by_segment):
            metric.evaluate(reference_event_list=told, estimated_event_list=found)
    ours = figures(events, records, {"labels": labels, "threshold": 0.5})
    for name, metric in (("event_F1", by_event), ("segment_F1", by_segment)):
        assert ours[name] == pytest.approx(metric.results_overall_metrics()["f_measure"]["f_measure"])
        mean = metric.results_class_wise_average_metrics()["f_measure"]["f_measure"]
        assert ours[f"{name}_mean_of_labels"] == pytest.approx(mean)


# ---- sed_scores_eval


def test_psds_of_an_oracle_is_one() -> None:
    frames = [[second, second + 1] for second in range(10)]
    rows = []
    for number in range(12):
        told = [[number % 7, number % 7 + 2, LABELS[number % 2]]]
        scores = [
            [float(told[0][0] <= start < told[0][1] and told[0][2] == label) for label in LABELS[:2]]
            for start, _ in frames
        ]
        rows.append({"key": str(number), "events": told, "frames": frames, "scores": scores})
    found, why = events.psds(rows, LABELS[:2])
    if not found:
        pytest.skip(f"PSDS: {why}")
    assert found == {"PSDS1": pytest.approx(1.0), "PSDS2": pytest.approx(1.0)}
