"""PyAV, the extra `media`: every other container and codec. FFmpeg sees the given bytes and opens nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from mats_model.audio.item import AudioSource, Facts
from mats_model.audio.view import View
from mats_model.errors import InputError

Blocks = Iterator[tuple[np.ndarray, int]]

# demuxers that read one stretch of bytes. None that opens what a file names (hls, dash, concat, sdp, image2, imf), none
# of devices, none of text
FORMATS = (
    "3dostr 4xm aa aac aax ac3 ac4 ace acm act adf adp ads adx aea afc aiff aix amr amrnb amrwb apac apc ape apm aptx "
    "aptx_hd argo_asf argo_brp"
    " argo_cvg asf asf_o ast au avi avr bethsoftvid bfi bfstm bink binka bit bonk boa brstm caf cavsvideo codec2 daud "
    "dcstr derf dfpwm dhav dsf"
    " dsicin dss dts dtshd dv dxa ea eac3 epaf film_cpk flac flv frm fsb fwse g722 g723_1 g726 g726le g728 g729 gdv "
    "genh gsm gxf hca hcom iamf"
    " idcin iff ifv ilbc ipmovie ipu ircam iss ivf ivr jv kvag laf lc3 live_flv lmlm4 loas luodat lvf lxf m4v "
    "matroska webm mca mgsts mlp mlv mm"
    " mmf mods moflex mov mp4 m4a 3gp 3g2 mj2 mp3 mpc mpc8 mpeg mpegts mpegtsraw msf msnwctcp msp mtaf mtv musx mv "
    "mvi mxf mxg nc nistsphere nsp"
    " nsv nut nuv ogg oma osq paf pmp pp_bnk psxstr pva pvf qcp qoa r3d redspark rka rl2 rm roq rpl rsd rso sbc scd "
    "sdns sdr2 sds sdx shn siff"
    " sln smjpeg smk smush sol sox spdif svag svs swf tak thp tiertexseq truehd tta ty usm vag vividas vivo vmd voc "
    "vpk vqf w64 wady wav wavarc"
    " wc3movie wsaud wsd wsvqa wtv wv wve xa xmd xmv xvag xwma yop"
).split()
# streams without a header: where the bytes are of no known kind, these may be a mistake of the probe
_BARE = frozenset(
    "aac ac3 ac4 eac3 dts dtshd loas mp3 mlp truehd aptx aptx_hd sbc g722 g723_1 g726 g726le g728 g729 gsm ilbc "
    "codec2 amrnb amrwb adp aea act dss"
    " dfpwm sln lc3 bit spdif cavsvideo m4v dv mgsts ipu mm mtv nsv psxstr rso sol vag lmlm4 msnwctcp".split()
)
# containers whose length is written down, not guessed from their size
_EXACT = frozenset(
    "mov matroska asf ape wv tta tak mpc mpc8 dsf avi flv caf wav aiff rm iff au w64 flac nut shn qoa".split()
)
_LACKING = 0.5  # seconds, or a fiftieth, that may be lacking: lengths are rounded to packets, and encoders pad
_FIRST = 24  # packets that are decoded before a bare stream is believed
_SILENT = 8e-5  # from the lowest to the highest sample of a silent track


def here() -> bool:
    """Whether the extra is installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def _refuse(*_: Any) -> NoReturn:
    raise PermissionError("a sound may not open other files")


def _open(item: AudioSource, view: View, kind: str) -> Any:
    """A container with at least one audio track. Errors: InputError."""
    import av

    av.logging.set_level(av.logging.PANIC)
    view.seek(0)
    try:
        container = av.open(
            view,
            metadata_errors="replace",
            container_options={"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"},
            io_open=_refuse,
        )
    except Exception as error:  # FFmpeg's errors are of many kinds, some of them those of files
        if view.failed or _fatal(error):
            raise
        if not kind:
            raise InputError(f"{item.name} is not a sound: its content is of no known audio format.") from None
        raise InputError(f"{item.name} cannot be decoded ({_reason(error)}); copy or export it again.") from None
    if not container.streams.audio:
        what = "no audio in it, only pictures" if container.streams.video else "no audio in it"
        container.close()
        raise InputError(f"{item.name} has {what}.")
    return container


def _fatal(error: Exception) -> bool:
    """Whether memory ran out here; FFmpeg says so too of a file that asks for gigabytes."""
    import av

    return isinstance(error, MemoryError) and not isinstance(error, av.FFmpegError)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


@dataclass
class _State:
    """How the decoding of one track goes."""

    good: int = 0
    bad: int = 0
    first_bad: float = 0.0
    seconds: float = 0.0
    broken: str = ""  # why reading stopped before the end


def decode(item: AudioSource, view: View, kind: str, before: float) -> Blocks:
    """The first audio track that is not silent: (frames, channels) float32, samples a second. Errors: InputError."""
    state = _State()
    with _open(item, view, kind) as container:
        stream = container.streams.audio[_chosen(item, view, kind, container)]
        name = container.format.name.split(",")[0]
        if stream.codec_context is None:
            raise InputError(_no_decoder(item, name))
        promised = _promised(container, stream, name)
        waiting: list[tuple[np.ndarray, int]] | None = [] if name in _BARE and not kind else None
        told = False
        for block, sample_rate in _track(container, stream, state):
            if not told:
                item.about.append(Facts(name, sample_rate, block.shape[1]))
                told = True
            state.seconds += len(block) / sample_rate
            if waiting is None:
                yield block, sample_rate
                continue
            waiting.append((block, sample_rate))
            if state.good >= _FIRST:
                _believe(item, state)
                yield from waiting
                waiting = None
        if view.failed:
            raise view.failed
        if waiting is not None:
            _believe(item, state)
            yield from waiting
        _tell(item, state, promised, before, name)


def _believe(item: AudioSource, state: _State) -> None:
    if state.bad * 4 > state.good:
        raise InputError(f"{item.name} is not a sound: its content is of no known audio format.")


def _no_decoder(item: AudioSource, name: str) -> str:
    return f"{item.name} holds a codec in {name} that FFmpeg cannot decode: export it as FLAC or WAV."


def _promised(container: Any, stream: Any, name: str) -> float:
    """Seconds that the container says, where it knows; else 0."""
    if name not in _EXACT:
        return 0.0
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration and not container.streams.video else 0.0


def _tell(item: AudioSource, state: _State, promised: float, before: float, name: str) -> None:
    """What there is to say when a track has ended. Errors: InputError, where nothing was decoded."""
    if not state.seconds:
        if state.bad or state.broken:
            raise InputError(
                f"{item.name} cannot be decoded ({state.broken or 'no packet of it is whole'}); copy or export it "
                "again."
            )
        return
    end = before + state.seconds
    if state.bad:
        many = "one packet" if state.bad == 1 else f"{state.bad} packets"
        item.miss(f"{many} of it cannot be decoded, the first at {before + state.first_bad:.1f} s; the rest is heard.")
    if state.broken:
        item.miss(f"it cannot be read on at {end:.1f} s ({state.broken}); what comes after that is missing.")
    # what the bad packets held is said already
    elif promised - state.seconds * (1 + state.bad / max(1, state.good)) > max(_LACKING, promised / 50):
        item.miss(f"it is cut short: it ends at {end:.1f} s of {before + promised:.1f} s.")


def _track(container: Any, stream: Any, state: _State) -> Blocks:
    """Frames of a track; a packet that cannot be decoded is left out."""
    from av.error import DecoderNotFoundError

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except Exception as error:
            if _fatal(error):
                raise
            state.broken = _reason(error)
            return
        try:
            frames = packet.decode()
        except EOFError:
            continue
        except Exception as error:
            if _fatal(error) or isinstance(error, DecoderNotFoundError):
                raise
            # what has no bytes only asks for what is left
            if packet.size:
                state.first_bad = state.seconds if not state.bad else state.first_bad
                state.bad += 1
            continue
        state.good += bool(packet.size)
        for frame in frames:
            if frame.samples and frame.sample_rate > 0:
                yield _samples(frame), frame.sample_rate


def _samples(frame: Any) -> np.ndarray:
    """(frames, channels) float32."""
    block = frame.to_ndarray()
    channels = frame.layout.nb_channels
    if not frame.format.is_planar:
        block = block.reshape(-1, channels).T
    if block.dtype.kind == "i":
        block = block / np.float32(-float(np.iinfo(block.dtype).min))
    elif block.dtype.kind == "u":
        block = (block.astype(np.float32) - 128.0) / 128.0
    return np.ascontiguousarray(block.T, dtype=np.float32)


def _chosen(item: AudioSource, view: View, kind: str, container: Any) -> int:
    """Of several tracks the first that can be decoded and is not silent, with a note that names the others."""
    if len(container.streams.audio) == 1:
        return 0
    names = [_named(number, stream) for number, stream in enumerate(container.streams.audio)]
    chosen = 0
    for number in range(len(names)):
        if _sounds(item, view, kind, number):
            chosen = number
            break
    others = ", ".join(name for number, name in enumerate(names) if number != chosen)
    item.say(f"it has {len(names)} audio tracks; {names[chosen]} is heard, and not {others}.")
    return chosen


def _named(number: int, stream: Any) -> str:
    told = [stream.metadata.get("language", ""), stream.metadata.get("title", "")]
    words = " ".join("".join(c for c in text if c.isprintable())[:60] for text in told if text and text != "und")
    return f"track {number + 1}{f' ({words})' if words else ''}"


def _sounds(item: AudioSource, view: View, kind: str, number: int) -> bool:
    with _open(item, View(view.handle, view.pieces), kind) as container:
        stream = container.streams.audio[number]
        if stream.codec_context is None:
            return False
        try:
            return any(
                float(np.ptp(block, axis=0).max()) >= _SILENT for block, _ in _track(container, stream, _State())
            )
        except Exception:
            return False
