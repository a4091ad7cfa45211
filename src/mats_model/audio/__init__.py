"""Bytes, files and streams -> mono float32 windows at the encoder's rate. The one door for decoding; docs/formats.md
says what is read by what.

item.py     what is to be heard, and what there is to say about it
view.py     bytes as a decoder should see them
find.py     what it is, by content; mpeg.py, ogg.py and chunks.py know its parts, promise.py what its header promises
ffmpeg.py   PyAV, the extra `media`: whatever libsndfile does not know
decode.py   samples, mixed to mono and resampled, block by block
window.py   windows and segments
write.py    WAV files of our own
level.py    how loud
"""

from mats_model.audio.decode import BLOCK, blocks, decoded, facts, recognised, seconds
from mats_model.audio.find import SHARED, SUFFIXES, ending, sounds
from mats_model.audio.item import AudioSource, Facts, source
from mats_model.audio.mix import LEAST, RATES, SILENCE
from mats_model.audio.window import Window, windows
from mats_model.audio.write import cut, write_wav

__all__ = [
    "BLOCK",
    "LEAST",
    "RATES",
    "SHARED",
    "SILENCE",
    "SUFFIXES",
    "AudioSource",
    "Facts",
    "Window",
    "blocks",
    "cut",
    "decoded",
    "ending",
    "facts",
    "recognised",
    "seconds",
    "sounds",
    "source",
    "windows",
    "write_wav",
]
