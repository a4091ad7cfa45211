"""The harness itself: an oracle scores 1, a shuffled one chance, known mistakes their known figures; averages are those
of scikit-learn, F1 over events that of sed_eval, PSDS that of sed_scores_eval."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mats_model.evaluate import answers, captions, classes, events, naming, retrieval
from mats_model.evaluate.intervals import draws, mean_of, measured, paired

LABELS = ["dog", "rain", "bell", "car"]
PROTOCOL = {"labels": LABELS, "several": False, "scale": 1.0}


def figures(module: Any, records: list[dict[str, Any]], protocol: dict[str, Any]) -> dict[str, float]:
    ones = np.ones(len(records))
    return {name: statistic(ones) for name, statistic in module.statistics(records, protocol).items()}


def judged(truth: list[int], cosines: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"key": str(row), "labels": [LABELS[place]], "cosines": scores.tolist()}
        for row, (place, scores) in enumerate(zip(truth, cosines, strict=True))
    ]


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Sixty recordings of four classes, with many equal scores."""
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 4, 60)
    return truth, np.round(rng.normal(size=(60, 4)) + 1.2 * np.eye(4)[truth], 1)


# ---- classes


def test_an_oracle_is_right_and_a_shuffled_one_guesses() -> None:
    truth = np.repeat(np.arange(4), 100)
    perfect = figures(classes, judged(truth.tolist(), np.eye(4)[truth]), PROTOCOL)
    assert perfect["top1"] == perfect["mAP"] == perfect["macro_f1"] == perfect["mean_recall"] == 1.0
    shuffled = np.random.default_rng(0).permutation(truth)
    guessed = figures(classes, judged(shuffled.tolist(), np.eye(4)[truth]), PROTOCOL)
    assert guessed["top1"] == pytest.approx(0.25, abs=0.05) and guessed["mAP"] == pytest.approx(0.25, abs=0.03)


def test_a_known_confusion_has_its_known_f1() -> None:
    # dog 3 of 4 right, one taken for rain; rain 2 of 2; bell 1 of 2, one silent; no car
    truth, guess = [0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1, 2, 2]
    records = judged(truth, np.eye(4)[guess])
    records[7]["cosines"] = None
    found = figures(classes, records, PROTOCOL)
    assert found["top1"] == 6 / 8 and found["mean_recall"] == pytest.approx((3 / 4 + 1 + 1 / 2) / 3)
    assert found["macro_f1"] == pytest.approx((2 * 3 / 7 + 2 * 2 / 5 + 2 * 1 / 3) / 3)
    table = classes.tables(records, PROTOCOL)
    assert table["confusion"] == [[3, 1, 0, 0, 0], [0, 2, 0, 0, 0], [0, 0, 1, 0, 1], [0, 0, 0, 0, 0]]
    assert table["per_class"][0]["precision"] == 1.0 and table["per_class"][3]["F1"] is None


def test_map_is_scikit_learn_s() -> None:
    truth, scores = drawn()
    measure = classes.average_precisions(np.eye(4)[truth] > 0, scores)
    # average_precision_score of scikit-learn 1.9.1, without and with sample weights
    golden = [0.6280470646849957, 0.5982792137643705, 0.5608066679661998, 0.7052807135282846]
    assert measure(np.ones(60)) == pytest.approx(golden, abs=1e-12)
    rng = np.random.default_rng(7)
    rng.integers(0, 4, 60), rng.normal(size=(60, 4))
    weights = rng.integers(0, 3, 60).astype(float)
    assert classes.mean_precision(np.eye(4)[truth] > 0, scores)(weights) == pytest.approx(0.6094066540791367, abs=1e-12)
    assert figures(classes, judged(truth.tolist(), scores), PROTOCOL)["macro_f1"] == pytest.approx(0.6510339123242349)


def test_calibration_error_by_hand() -> None:
    # bins of a fifteenth: two at .9 of which one is right, one at .5 that is right, one at exactly 1
    sure, hit = np.array([0.9, 0.9, 0.5, 1.0]), np.array([True, False, True, True])
    by_hand = 2 / 4 * abs(0.5 - 0.9) + 1 / 4 * abs(1 - 0.5) + 0
    assert classes.calibration_error(sure, hit, np.ones(4)) == pytest.approx(by_hand)
    assert [row["count"] for row in classes.reliability(sure, hit)] == [1, 2, 1]


def test_an_answer_is_matched_by_its_words_then_by_nearness() -> None:
    near = np.array([0.1, 0.9, 0.2, 0.3])
    assert naming.matched("A bell and a car.", LABELS, near) == {"generated": "car", "by_words": True}
    assert naming.matched("Something drips.", LABELS, near) == {"generated": "rain", "by_words": False}
    # dogs is another word than dog, and half of a name of two words is not the name
    assert not naming.matched("Two dogs.", LABELS, near)["by_words"]
    assert not naming.matched("The church.", ["church bell"], near[:1])["by_words"]


def test_several_labels() -> None:
    records = [
        {"key": "a", "labels": ["dog", "rain"], "cosines": [0.9, 0.8, 0.1, 0.0]},
        {"key": "b", "labels": ["bell"], "cosines": [0.1, 0.2, 0.7, 0.1]},
        {"key": "c", "labels": ["car"], "cosines": [0.95, 0.1, 0.2, 0.3]},
    ]
    found = figures(classes, records, {**PROTOCOL, "several": True})
    assert found["mAP"] == pytest.approx((0.5 + 1 + 1 + 1) / 4) and found["top1_among"] == pytest.approx(2 / 3)


# ---- intervals


def test_intervals_hold_the_figure_and_are_the_same_again() -> None:
    values = np.random.default_rng(0).random(200)
    groups = [str(row) for row in range(200)]
    one, two = (measured({"mean": mean_of(values)}, groups)["mean"] for _ in range(2))
    assert one == two and one.low < values.mean() < one.high
    # as wide as four standard errors
    assert one.high - one.low == pytest.approx(4 * 0.98 * values.std() / math.sqrt(200), rel=0.15)


def test_records_of_one_recording_are_drawn_together() -> None:
    for weights in draws(["a", "a", "b", "c", "c", "c"], 20):
        assert weights[0] == weights[1] and weights[3] == weights[4] == weights[5]
        assert weights[0] + weights[2] + weights[3] == 3


def test_a_paired_difference_is_surer_than_two_intervals() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(300)
    ours, theirs, groups = hard + 0.02, hard, [str(row) for row in range(300)]
    gain = paired({"x": mean_of(ours)}, {"x": mean_of(theirs), "y": mean_of(theirs)}, groups)
    assert list(gain) == ["x"] and gain["x"].low == pytest.approx(0.02) == gain["x"].high


# ---- retrieval, answers, events, captions


def test_retrieval_by_hand() -> None:
    records = [
        {"key": "a", "sound_ranks": [1, 3], "caption_ranks": [1, 4]},
        {"key": "b", "sound_ranks": [12], "caption_ranks": [6]},
    ]
    found = figures(retrieval, records, {})
    assert found["text_to_audio_R@1"] == pytest.approx(1 / 3) and found["text_to_audio_R@5"] == pytest.approx(2 / 3)
    assert found["text_to_audio_mAP@10"] == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert found["audio_to_text_R@1"] == 0.5 and found["audio_to_text_R@10"] == 1.0
    assert found["audio_to_text_mAP@10"] == pytest.approx(((1 + 2 / 4) / 2 + 1 / 6) / 2)


@pytest.mark.parametrize(
    ("answer", "said", "options", "is_right"),
    [
        ("Dog", "It is a dog.", ["Dog", "Cat"], True),
        ("Dog", "A dog or a cat", ["Dog", "Cat"], False),
        ("church bell", "a bell", ["church bell", "school bell"], False),
        ("church bell", "the church bell", ["church bell", "school bell"], True),
        ("yes", "Yes, dog: 0.93 at 0-5 s.", [], True),
        ("no", "Yes or no?", [], False),
        ("Dog", "", ["Dog", "Cat"], False),
    ],
)
def test_the_token_rule(answer: str, said: str, options: list[str], is_right: bool) -> None:
    assert answers.right(answer, said, options) is is_right


def test_consistency_and_guessing() -> None:
    options = ["dog", "cat"]
    records = [
        {"key": "a", "answer": "dog", "options": options, "said": ["dog", "a dog"], "without_audio": "cat"},
        {"key": "b", "answer": "cat", "options": options, "said": ["dog", "cat"], "without_audio": "cat"},
    ]
    found = figures(answers, records, {})
    assert answers.tables(records, {}) == {}
    kinds = [{**row, "category": kind} for row, kind in zip(records, ("speech", "music"), strict=True)]
    assert [(row["label"], row["count"], row["accuracy"]) for row in answers.tables(kinds, {})["per_class"]] == [
        ("music", 1, 0.0), ("speech", 1, 1.0),
    ]  # fmt: skip
    assert found == {
        "accuracy": 0.5, "accuracy_permuted": 0.75, "consistency": 0.5, "accuracy_without_audio": 0.5, "chance": 0.5,
    }  # fmt: skip


def event_records() -> list[dict[str, Any]]:
    """Twelve recordings of ten seconds, drawn, and what a middling detector makes of them."""
    rng = np.random.default_rng(3)
    labels, records = LABELS[:3], []
    for number in range(12):
        told: list[list[Any]] = []
        for label in labels:
            at = 0.0
            for _ in range(rng.integers(0, 4)):
                start = round(at + float(rng.integers(0, 3)), 2)
                end = round(start + float(rng.integers(1, 4)), 2)
                if end > 10:
                    break
                told.append([start, end, label])
                at = end + 1
        scores = np.zeros((20, 3))
        for start, end, label in told:
            scores[int(start * 2) : int(end * 2), labels.index(label)] = 1
        moved = 0.8 * np.roll(scores, int(rng.integers(-1, 2)), 0) + rng.normal(size=scores.shape) * 0.25
        frames = [[step / 2, (step + 1) / 2] for step in range(20)]
        records.append(
            {"key": str(number), "events": told, "frames": frames, "scores": np.clip(moved, 0, 1).round(3).tolist()}
        )
    return records


def test_f1_over_events_is_sed_eval_s() -> None:
    found = figures(events, event_records(), {"labels": LABELS[:3], "threshold": 0.5})
    golden = {
        "event_F1": 0.11009174311926605,
        "event_F1_mean_of_labels": 0.11181583274606531,
        "segment_F1": 0.8125,
        "segment_F1_mean_of_labels": 0.8099163679808842,
    }
    assert found == pytest.approx(golden, abs=1e-12)


def test_events_are_joined_and_each_is_found_once() -> None:
    record = {"frames": [[0, 1], [1, 2], [2, 3]], "scores": [[0.9], [0.6], [0.2]]}
    assert events.found_events(record, ["dog"], 0.5) == [(0, 2, "dog")]
    told, twice = [(0.0, 2.0, "dog")], [(0.0, 2.0, "dog"), (0.1, 2.1, "dog")]
    assert events.matches(told, twice) == 1  # type: ignore[arg-type]
    assert events.matches([(0.0, 2.0, "dog")], [(0.3, 2.0, "dog")]) == 0
    # pairing greedily would find one only
    assert events.matches([(0.0, 1.0, "a"), (0.2, 1.2, "a")], [(0.15, 1.15, "a"), (0.35, 1.3, "a")]) == 2


def test_psds_is_sed_scores_eval_s() -> None:
    found, why = events.psds(event_records(), LABELS[:3])
    if not found:
        pytest.skip(f"PSDS: {why}")
    assert found == pytest.approx({"PSDS1": 0.0, "PSDS2": 0.5173864100256249})


def test_captions_are_counted() -> None:
    records = [
        {"key": "a", "said": "A dog barks.", "captions": ["a dog barks"], "statements": 1, "unsupported": []},
        {
            "key": "b",
            "said": "A dog barks and a dog barks.",
            "captions": ["rain"],
            "statements": 2,
            "unsupported": ["a"],
        },
    ]
    found = figures(captions, records, {})
    assert found["vocabulary"] == 4 and found["different_captions"] == 2 and found["repeated_words"] == 0.5
    assert found["hallucination_rate"] == pytest.approx(1 / 3) and found["words_a_caption"] == 5
    assert captions.statements("A dog barks, a man speaks and rain falls.") == [
        "A dog barks",
        "a man speaks",
        "rain falls",
    ]
