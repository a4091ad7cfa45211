"""A microphone without hardware: a PulseAudio null sink whose monitor is the default input. What is played is what is
heard."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOOLS = ("pulseaudio", "pactl", "paplay")


def missing() -> str:
    """What this machine lacks, or ""."""
    lacking = [tool for tool in TOOLS if not shutil.which(tool)]
    if not ctypes.util.find_library("portaudio"):
        lacking.append("libportaudio2")
    if not list(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")):
        lacking.append("libasound2-plugins")
    return ", ".join(lacking)


class VirtualMic:
    """`env` is for programs that should hear it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = folder / "asound.conf"
        config.write_text("</usr/share/alsa/alsa.conf>\npcm.!default { type pulse }\nctl.!default { type pulse }\n")
        self.env = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "ALSA_CONFIG_PATH": str(config)}
        modules = ["module-null-sink sink_name=vmic rate=48000", "module-native-protocol-unix", "module-always-sink"]
        command = [
            "pulseaudio",
            "-n",
            "--daemonize=no",
            "--exit-idle-time=-1",
            *(f"--load={module}" for module in modules),
        ]
        self.daemon = subprocess.Popen(command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            if (
                subprocess.run(
                    ["pactl", "set-default-source", "vmic.monitor"], env=self.env, capture_output=True, check=False
                ).returncode
                == 0
            ):
                return
            time.sleep(0.1)
        self.unplug()
        raise OSError("pulseaudio did not start")

    def play(self, path: Path) -> subprocess.Popen[bytes]:
        """A WAV file, in the background."""
        return subprocess.Popen(["paplay", "--device=vmic", str(path)], env=self.env)

    def unplug(self) -> None:
        """The device disappears."""
        self.daemon.kill()
        self.daemon.wait()


@contextmanager
def virtual_mic(folder: Path) -> Iterator[VirtualMic]:
    """For a while."""
    mic = VirtualMic(folder)
    try:
        yield mic
    finally:
        mic.unplug()
