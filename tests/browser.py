"""A real headless Chromium, spoken to through a pair of pipes in its own protocol: no driver, no library."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def found() -> str | None:
    """Where a Chromium is, if anywhere."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a Chromium; `problems` are its console's errors, exceptions and refused requests."""

    def __init__(self, program: str, folder: Path, width: int = 1100, height: int = 800) -> None:
        to_browser, ours = os.pipe()
        theirs, from_browser = os.pipe()

        def plumb() -> None:  # the protocol is read from 3 and written to 4
            os.dup2(to_browser, 10)
            os.dup2(from_browser, 11)
            os.dup2(10, 3)
            os.dup2(11, 4)

        words = f"--headless=new --no-sandbox --disable-gpu --no-first-run --mute-audio --window-size={width},{height}"
        words += " --remote-debugging-pipe --autoplay-policy=no-user-gesture-required --disable-dev-shm-usage"
        words += " --disable-background-networking --disable-component-update --disable-sync"
        self.process = subprocess.Popen(
            [program, *words.split(), f"--user-data-dir={folder}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=plumb, close_fds=False,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self.ours, self.theirs = ours, os.fdopen(theirs, "rb")
        self.number, self.session, self.problems = 0, "", list[str]()
        self.addresses: list[str] = []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.process.terminate()
        self.process.wait(20)
        os.close(self.ours)
        self.theirs.close()

    def _read(self) -> dict[str, Any]:
        told = bytearray()
        while (letter := self.theirs.read(1)) not in (b"\0", b""):
            told += letter
        assert told, "the browser has ended"
        message: dict[str, Any] = json.loads(told)
        method, values = message.get("method", ""), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(values["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning"):
            self.problems.append(json.dumps(values["args"])[:500])
        elif method == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.problems.append(values["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.addresses.append(values["request"]["url"][:200])
        return message

    def _ask(self, method: str, **values: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": values}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.ours, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self.number:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, page: Path) -> None:
        """Show a file, and wait until it has run."""
        self._ask("Page.navigate", url=page.absolute().as_uri())
        self.wait("location.protocol == 'file:' && document.readyState == 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        told = self._ask("Runtime.evaluate", expression=script, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, condition: str, seconds: float = 20.0) -> None:
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"not in {seconds} s: {condition}"
            time.sleep(0.05)

    def key(self, name: str) -> None:
        """A key is pressed where the focus is."""
        text = {"Enter": "\r", "Space": " "}.get(name, name if len(name) == 1 else "")
        code = {"Enter": 13, "Space": 32, "Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        values = {"key": " " if name == "Space" else name, "windowsVirtualKeyCode": code.get(name, 0), "text": text}
        self._ask("Input.dispatchKeyEvent", type="keyDown", **values)
        self._ask("Input.dispatchKeyEvent", type="keyUp", **{**values, "text": ""})

    def click(self, chosen: str, x: float = 0.5) -> None:
        """With the mouse, at a share of the element's width."""
        self.run(f"document.querySelector({chosen!r}).scrollIntoView({{block: 'center'}})")
        box = self.run(
            f"(b => [b.x, b.y, b.width, b.height])(document.querySelector({chosen!r}).getBoundingClientRect())"
        )
        at = {"x": box[0] + box[2] * x, "y": box[1] + box[3] / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, **at)

    def look(self, target: Path, dark: bool = False, width: int = 0, whole: bool = False) -> None:
        """A screenshot."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._ask("Emulation.setEmulatedMedia", features=scheme)
        if width:
            self.narrow(width)
        time.sleep(0.3)
        made = self._ask("Page.captureScreenshot", captureBeyondViewport=whole)
        target.write_bytes(base64.b64decode(made["data"]))

    def narrow(self, width: int, height: int = 800) -> None:
        """Another size of window."""
        values = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._ask("Emulation.setDeviceMetricsOverride", **values)
