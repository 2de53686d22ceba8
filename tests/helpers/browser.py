"""A headless Chromium driven over a pipe by its DevTools protocol: standard library only."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def found() -> str | None:
    """The path of a Chromium on this machine."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One browser with one page; `errors` and `requests` hold what the page complained of and asked for."""

    def __init__(self, downloads: Path) -> None:
        (commands, self.out), (self.into, answers) = os.pipe(), os.pipe()
        self.profile = tempfile.TemporaryDirectory()
        path = found() or "chromium"
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
        ]
        flags += ["--no-first-run", "--disable-background-networking", f"--user-data-dir={self.profile.name}"]
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16) for fd in (commands, answers)]
        null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
        pipes = [(os.POSIX_SPAWN_DUP2, fd, to) for fd, to in zip(high, (3, 4), strict=True)]  # where Chromium looks
        self.pid = os.posix_spawn(path, [path, *flags, "about:blank"], os.environ, file_actions=[*null, *pipes])
        for fd in (commands, answers, *high):
            os.close(fd)
        self.buffer, self.number, self.session = b"", 0, None
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.downloads = downloads
        self._offered: dict[str, str] = {}
        self._complete: set[str] = set()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def close(self) -> None:
        self.session = None
        self.call("Browser.close")
        os.waitpid(self.pid, 0)
        os.close(self.out)
        os.close(self.into)
        self.profile.cleanup()

    def call(self, method: str, **parameters: object) -> dict:
        """The answer to one command of the protocol."""
        self.number += 1
        message: dict[str, object] = {"id": self.number, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._event(answer)

    def _next(self, limit: float = 120) -> dict:
        while b"\0" not in self.buffer:
            assert select.select([self.into], [], [], limit)[0], "the browser does not answer"
            part = os.read(self.into, 1 << 20)
            assert part, "the browser has ended"
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def _event(self, event: dict) -> None:
        about = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(about["exceptionDetails"])[:800])
            case "Runtime.consoleAPICalled":
                self.errors.append(json.dumps(about["args"])[:400])
            case "Log.entryAdded":
                self.errors.append(about["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(about["request"]["url"])
            case "Page.downloadWillBegin":
                self._offered[about["guid"]] = about["suggestedFilename"]
            case "Page.downloadProgress" if about["state"] == "completed":
                self._complete.add(self._offered[about["guid"]])

    def open(self, url: str) -> None:
        """Loads a page anew, also where the address differs in nothing but what stands after `#`."""
        self.call("Page.navigate", url="about:blank")
        self.wait("location.href === 'about:blank'")
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && document.querySelector('nav button') !== null")

    def evaluate(self, script: str) -> object:
        """The value of an expression in the page; AssertionError with what it threw."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, condition: str, limit: float = 120) -> None:
        """Until an expression is true; AssertionError if that does not come."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if self.evaluate(condition):
                return
            time.sleep(0.02)
        raise AssertionError(f"never true: {condition}")

    def click(self, selector: str) -> None:
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def fill(self, selector: str, text: str) -> None:
        """Types into a field, or picks an option of a select."""
        self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.focus();"
            f" e.value = {json.dumps(text)};"
            " e.dispatchEvent(new Event('input', {bubbles: true}));"
            " e.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )

    def press(self, key: str) -> None:
        """A key by its name: Tab, Enter, Escape."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            about = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code} | (
                text if kind == "keyDown" else {}
            )
            self.call("Input.dispatchKeyEvent", **about)

    def texts(self, selector: str) -> list[str]:
        got = self.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.textContent)")
        assert isinstance(got, list)
        return got

    def saved(self, name: str) -> str:
        """The text of a file that the page has offered, once it is whole; the file is then removed."""
        path = self.downloads / name
        end = time.monotonic() + 30
        while name not in self._complete and time.monotonic() < end:
            self.evaluate("1")
            time.sleep(0.02)
        self._complete.remove(name)
        text = path.read_text()
        path.unlink()
        return text

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700
        )

    def prefer(self, scheme: str) -> None:
        """`light` or `dark`, as the system would say it."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
