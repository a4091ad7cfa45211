"""The program in a process of its own, forked from one that has imported torch: a second and a half less for each of
some hundred runs."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

# what Python or torch read when they start
_EARLY = ("PYTHON", "LC_", "LANG", "OMP_", "MKL_", "LD_", "TORCH_")


def _early(env: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in env.items() if key.startswith(_EARLY)}


_BEGAN = _early(os.environ)


def run(
    words: list[str], cwd: Path, env: dict[str, str], stdin: bytes, timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """`python -m mats_cli WORDS`, as subprocess runs it."""
    if sys.platform != "linux" or _early(env) != _BEGAN:
        command = [sys.executable, "-m", "mats_cli", *words]
        return subprocess.run(command, input=stdin, capture_output=True, cwd=cwd, env=env, timeout=timeout, check=False)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("in", "out", "err")]
        files[0].write_bytes(stdin)
        process = context.Process(target=_program, args=(words, str(cwd), env, [str(file) for file in files]))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, timeout, files[1].read_bytes(), files[2].read_bytes())
        return subprocess.CompletedProcess(words, process.exitcode, files[1].read_bytes(), files[2].read_bytes())


def _program(words: list[str], cwd: str, env: dict[str, str], files: list[str]) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for descriptor, file in enumerate(files):
        opened = os.open(file, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["mats", *words]
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).parent)]
    runpy.run_module("mats_cli", run_name="__main__", alter_sys=True)
