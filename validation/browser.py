"""A headless Chromium, driven over its debugging protocol: enough to open a page and to look at it."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import websocket_connect

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# Nothing but the page: no look-ups, no updates, no sandbox (tests may run as root).
_ALONE = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


class Tab:
    """One page; ``async with Tab(folder) as tab``."""

    def __init__(self, profile: str | Path) -> None:
        self.profile, self.count = profile, 0
        self.events: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        self.process = subprocess.Popen(
            [CHROMIUM or "chromium", *_ALONE, f"--user-data-dir={self.profile}", "about:blank"],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stderr is not None
        port = next(found[1] for line in self.process.stderr if (found := re.search(r"ws://127.0.0.1:(\d+)/", line)))
        listed = json.loads((await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json/list")).body)
        address = next(entry["webSocketDebuggerUrl"] for entry in listed if entry["type"] == "page")
        self.socket = await websocket_connect(address, max_message_size=1 << 28)
        for domain in ("Page", "Network", "Runtime"):
            await self.call(f"{domain}.enable")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()
        self.process.kill()
        self.process.communicate()

    async def call(self, method: str, **parameters: Any) -> Any:
        """Return the answer to a command; events that come before it are kept."""
        self.count += 1
        await self.socket.write_message(json.dumps({"id": self.count, "method": method, "params": parameters}))
        while True:
            message = json.loads(await self.socket.read_message() or "{}")
            if message.get("id") == self.count:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    async def evaluate(self, script: str) -> Any:
        """Return the value of a script, awaited."""
        found = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def loaded(self) -> set[str]:
        """Return the addresses that the page asked for."""
        asked = [event["params"]["request"]["url"] for event in self.events
                 if event.get("method") == "Network.requestWillBeSent"]  # fmt: skip
        return {address for address in asked if not address.startswith(("data:", "blob:"))}
