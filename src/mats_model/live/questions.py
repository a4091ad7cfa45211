"""What a question asks for, where a small model must answer it: by the form of the sentence, in English."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

# what: a description; present: whether a thing is there; which: of several; when: at what times; often: how many times;
# during: what happens in a time; sounds: which there are; summary: all in a sentence; loud, long: what is measured
KINDS = ("what", "present", "which", "when", "often", "during", "sounds", "summary", "loud", "long", "beyond")


@dataclass(frozen=True)
class Asked:
    """The kind of a question, the things that it names, and the seconds that it asks of, from the end if negative."""

    kind: str
    things: tuple[str, ...] = ()
    during: tuple[float, float] = (0.0, 0.0)


_POLITE = (
    r"^(?:hey |hi |hello |so |and |ok(?:ay)? |well |now |then |please |mats,? |can you tell me |could you tell me "
    r"|tell me |do you think )+"
)
_SOUND = r"(?:sound|noise|recording|clip|file|audio|track|song|music)s?"
_PLACE = rf"(?:in|on|at) (?:this|that|the)(?: \w+)? ?(?:{_SOUND}|background|moment)?"
_LAST = rf"(?: (?:too|as well|please|here|there|now|right now|at all|in it|in there|{_PLACE}))+$"
_ARTICLES = (
    r"^(?:a|an|the|any|some|also|really|perhaps|maybe|more like|like|any kind of|some kind of|the sound of|sounds? "
    r"of|sound like) "
)
_PEOPLE = r"\b(?:any|some)(?:one|body)\b"
_NOBODY = r"(?:this|that|it|he|she|they|you|i|we)\b"
_BE = r"(?:'s| is| was| are| were)"
_WHAT = "|".join(
    (
        rf"what(?:{_BE}| do| did| can| could)?(?: (?:you|i|we|one))? ?"
        rf"(?:hear|heard|hearing|happening|happens|going on|there|up)?"
        rf"(?: \w+ {_SOUND})?",
        rf"what{_BE} (?:this|that|it|these|those|the)(?: {_SOUND})?",
        rf"what (?:(?:kind|sort|type)s? of \w+|{_SOUND}"
        r"|(?:animal|bird|instrument|vehicle|machine|tool|engine|weather)s?)(?: .*)?",
        rf"what{_BE}? (?:making|causing|producing) .*|what makes .*|what does (?:it|this|that) sound like",
        r"(?:describe|caption|listen)(?: .*)?|what (?:you|i) (?:can )?hear|what else(?: .*)?|anything "
        r"else",
    )
)
_HEARD = (
    r"(?:(?:is|are|was|were) there|(?:do|can|could|did) (?:you|i|we) (?:also )?hear|does (?:it|this|that) "
    r"(?:contain|have|sound like))"
)
# a judgement, or nobody's business: no sound has such a name
_JUDGED = r"(?:good|bad|dangerous|safe|real|fake|ok|true|right|wrong|loud|quiet|far|near|close|old|young)\b"


_UNIT = r"(seconds?|secs?|s|minutes?|mins?|m|hours?|h)"
_TIME = rf"(?:\d+(?::\d\d){{1,2}}(?:\.\d+)?|\d+(?:\.\d+)? ?{_UNIT}?)"
_SOUNDS = r"(?:which|what|list)(?: all)?(?: the| different)? sounds\b(?: (?:are|is|were|do|can)\b.*| there)?"
_OFTEN = r"how (?:often|many times) (?:do|does|did|is|are|was|were|can) (?:(?:you|i|we) hear )?(.+)"


def _seconds(text: str) -> float:
    """1:30, 90 s or 1.5 minutes."""
    if ":" in text:
        total = 0.0
        for part in text.split(":"):
            total = 60.0 * total + float(part)
        return total
    number, unit = re.fullmatch(r"([\d.]+) ?([a-z]*)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"m": 60.0, "h": 3600.0}.get(unit[:1], 1.0)


def _during(text: str) -> Asked | None:
    """What happens at a time, between two, or in the first or last of it."""
    if found := re.search(rf" in the (first|last)(?: ({_TIME})| (second|minute|hour))$", text):
        length = _seconds(found[2] if found[2] else f"1 {found[4]}")
        span = (0.0, length) if found[1] == "first" else (-length, math.inf)
    elif found := re.search(rf" (?:between|from) ({_TIME}) (?:and|to|until) ({_TIME})$", text):
        span = (_seconds(found[1]), _seconds(found[3]))
    elif found := re.search(rf" (?:at|around) (?:about )?({_TIME})$", text):
        span = (_seconds(found[1]),) * 2
    else:
        return None
    return Asked("during", (), span) if re.match(r"what\b|describe\b|summari[sz]e\b", text) else None


def _thing(text: str) -> str:
    """ "Any dogs in the background" -> "dogs"."""
    text = re.sub(_LAST, "", text.strip(" ,."))
    while (shorter := re.sub(_ARTICLES, "", text)) != text:
        text = shorter
    return re.sub(_PEOPLE, "a person", text).strip()


def _several(text: str) -> tuple[str, ...]:
    parts = [_thing(part) for part in re.split(r",? or |,? and |, ", text)]
    return tuple(dict.fromkeys(part for part in parts if part))


def understand(question: str) -> Asked:
    """What is asked for; of kind `beyond` where that is not known."""
    text = re.sub(r"\s+", " ", question.strip().lower()).strip(" ?!.")
    text = re.sub(_POLITE, "", text)
    if asked := _during(text):
        return asked
    if re.fullmatch(r"summari[sz]e(?: .*)?|(?:give (?:me )?)?(?:a |the )?summary(?: .*)?", text):
        return Asked("summary")
    if re.fullmatch(_SOUNDS, text):
        return Asked("sounds")
    if found := re.match(_OFTEN, text):
        return Asked("beyond") if re.match(_NOBODY, found[1]) else Asked("often", (_thing(found[1]),))
    if re.match(r"how (?:loud|quiet|noisy)\b|what(?:'s| is) the (?:level|volume|loudness)\b", text):
        return Asked("loud")
    if re.match(
        rf"how long(?: (?:is|was|does|did) (?:it|this|that|the)(?: {_SOUND})?(?: last)?)?$"
        r"|what(?:'s| is) the (?:length|duration)",
        text,
    ):
        return Asked("long")
    if found := re.match(
        rf"(?:when|at what time|at which point|where in .+?) (?:{_HEARD}|do|does|did|is|are|was|were) (.+)", text
    ):
        return Asked("beyond") if re.match(_NOBODY, found[1]) else Asked("when", (_thing(found[1]),))
    if found := re.match(r"(?:which|what)(?: one)? of (.+?)(?: (?:is|was|do|does|can|did|are)\b.*)?$", text):
        options = _several(re.sub(r"^(?:these|those|the following|them):? ?", "", found[1]))
        return Asked("which", options) if len(options) > 1 else Asked("beyond")
    if " or " in text:
        rest = re.sub(
            rf"^(?:{_HEARD}|which (?:is it|do you hear),?|(?:is|was|are) (?:it|this|that|there|they)|what is it,?)"
            r"[:,]? ",
            "",
            text,
        )
        options = _several(rest)
        if 1 < len(options) <= 20 and all(len(option.split()) <= 6 for option in options):
            return Asked("which", options)
    if re.fullmatch(_WHAT, re.sub(_LAST, "", text)):
        return Asked("what")
    for form in (
        rf"{_HEARD} (.+)",
        r"(?:is|was) (?:it|this|that) (.+ing\b.*)",
        r"(?:is|was|are|were) (?:it|this|that|these|those|they) (.+)",
        r"any (.+)",
        r"(?:is|are|was|were) (.+ \w+ing\b.*)",
    ):
        if found := re.fullmatch(form, text):
            thing = _thing(found[1])
            if thing and not re.match(f"{_NOBODY}|{_JUDGED}", thing):
                return Asked("present", (thing,))
    return Asked("beyond")
