"""Writes src/mats_model/words/english.txt, and tells how often a label is taken for a foreign one.

    python benchmarks/english.py --data DATA [--write]

Labels that took no part in the list: nano's names are in it, the classes of VGGSound are not.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

from common import ROOT, arguments

from mats_model.english import unknown
from mats_model.weights.resolve import EMBEDDED

SRC = ROOT / "src" / "mats_model"
WORDS = SRC / "words"

# what a user of these languages would write
FOREIGN = {
    "German": (
        "Hundegebell, Regen, Katze, Hund, Auto, Vogelgesang, Glocke, Kirchenglocke, Meer, Meeresrauschen, "
        "Wellen, Wind, Donner, Gewitter, Feuer, Kind weint, Baby schreit, Frau spricht, Mann spricht, Musik, "
        "Klavier, Geige, Gitarre, Schlagzeug, Trommel, Tür, Türklingel, Telefon klingelt, Uhr, Wecker, "
        "Staubsauger, Waschmaschine, Säge, Kettensäge, Hubschrauber, Flugzeug, Zug, Straßenbahn, Motorrad, "
        "Lastwagen, Polizeisirene, Feuerwehr, Sirene, Hupe, Schritte, Lachen, Husten, Niesen, Schnarchen, "
        "Hahn, Huhn, Kuh, Pferd, Schaf, Ziege, Schwein, Frosch, Grille, Biene, Wasserhahn, Bach, Fluss, "
        "Tastatur, Schuss, Explosion, Feuerwerk, Hammer, Bohrmaschine, Wasser, Applaus, Menschenmenge, Glas "
        "zerbricht, Stille, Rauschen, Vogel, Amsel, Kuckuck, Eule, Wolf, das Wasser läuft, ein Hund bellt"
    ).split(", "),
    "French": (
        "chien, pluie, chat, voiture, oiseau, cloche, mer, vagues, vent, tonnerre, feu, bébé qui pleure, "
        "femme qui parle, homme, musique, piano, violon, guitare, batterie, porte, téléphone, horloge, "
        "aspirateur, scie, hélicoptère, avion, train, moto, sirène, klaxon, pas, rire, toux, éternuement, "
        "coq, vache, cheval, mouton, chèvre, cochon, grenouille, abeille, robinet, rivière, clavier, "
        "explosion, marteau, eau, foule"
    ).split(", "),
    "Spanish": (
        "perro, lluvia, gato, coche, pájaro, campana, mar, olas, viento, trueno, fuego, bebé llorando, mujer, "
        "hombre, música, violín, guitarra, puerta, teléfono, reloj, aspiradora, sierra, helicóptero, avión, "
        "tren, moto, sirena, bocina, pasos, risa, tos, estornudo, gallo, vaca, caballo, oveja, cabra, cerdo, "
        "rana, abeja, grifo, río, teclado, disparo, martillo, agua"
    ).split(", "),
}


def texts(captions: Path) -> Iterator[str]:
    """All that the list is made of."""
    for entry in json.loads((captions / "ucs_en.json").read_text(encoding="utf-8")):
        yield " ".join([entry["Category"], entry["SubCategory"], entry["Explanations"], *entry["Synonyms"]])
    for entry in json.loads((captions / "audioset_ontology.json").read_text(encoding="utf-8")):
        yield f"{entry['name']} {entry['description']}"
    for name in ("audiocaps_v1_train.csv", "musiccaps-public.csv"):
        with (captions / name).open(newline="", encoding="utf-8") as handle:
            yield from (row["caption"] for row in csv.DictReader(handle))
    for path in (
        WORDS / "plain.csv",
        WORDS / "tags.csv",
        EMBEDDED / "memory.txt",
        EMBEDDED / "names.txt",
        ROOT / "recipes" / "nano" / "phrases.csv",
    ):
        yield path.read_text(encoding="utf-8")


def tell(name: str, labels: list[str]) -> None:
    found = unknown(labels)
    print(f"| {name} | {len(labels)} | {len(found)} | {', '.join(found[:6])} |")


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--write", action="store_true", help="write the list")
    options = parser.parse_args()
    captions = options.data / "captions"
    if options.write:
        words = {word for text in texts(captions) for word in re.findall(r"[a-z]{2,}", text.lower())}
        (WORDS / "english.txt").write_text("\n".join(sorted(words)) + "\n", encoding="utf-8")
    print("| labels | of them | taken for foreign | |\n|---|---|---|---|")
    tell("nano's names", (EMBEDDED / "names.txt").read_text(encoding="utf-8").splitlines())
    with (captions / "vggsound_stat.csv").open(newline="", encoding="utf-8") as handle:
        tell("VGGSound", [row[0] for row in csv.reader(handle)][1:])
    for language, labels in FOREIGN.items():
        found = unknown(labels)
        left = [label for label in labels if label not in found]
        print(f"| {language} | {len(labels)} | {len(found)} | not: {', '.join(left)} |")


if __name__ == "__main__":
    main()
