"""Register a connector with Kafka Connect and wait until it and its tasks run; made for being run at every start.

    python register.py http://connect:8083 connector.json

The connector's name is that of its publication's slot. Exit codes: 0 it runs, 1 it failed or did not run in time; why is on
stderr. Standard library only, one thread.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RUNS_WITHIN_S = 120.0
ASK_EVERY_S = 1.0
# Connect answers 409 while its members share out the work, and 404 for the status of a connector that it has not started yet.
LATER = (404, 409)


def main(url: str, config: str) -> int:
    settings = json.loads(Path(config).read_text())
    name = settings["slot.name"]
    deadline_s = time.monotonic() + RUNS_WITHIN_S
    said = "nothing yet"
    while time.monotonic() < deadline_s:
        said = put(f"{url}/connectors/{name}/config", settings) or state(f"{url}/connectors/{name}/status")
        if said in ("RUNNING", "FAILED"):
            break
        time.sleep(ASK_EVERY_S)
    sys.stderr.write(f"connector {name}: {said}\n")
    return 0 if said == "RUNNING" else 1


def put(url: str, settings: Mapping[str, str]) -> str:
    """Empty when Connect took the settings, else why it did not. The same settings again change nothing."""
    headers = {"Content-Type": "application/json"}
    return ask(urllib.request.Request(url, json.dumps(settings).encode(), headers, method="PUT"))[1]


def state(url: str) -> str:
    """RUNNING, FAILED, or what is waited for."""
    status, trouble = ask(urllib.request.Request(url))
    if trouble:
        return trouble
    parts = [status["connector"], *status["tasks"]]
    failed = [part.get("trace", "").partition("\n")[0] for part in parts if part["state"] == "FAILED"]
    if failed:
        sys.stderr.write(f"Connect says: {failed[0]}\n")
        return "FAILED"
    return "RUNNING" if status["tasks"] and all(part["state"] == "RUNNING" for part in parts) else "not running yet"


def ask(request: urllib.request.Request) -> tuple[dict[str, Any], str]:
    """Connect's answer, or why there is none yet. Raises HTTPError for an answer that waiting will not change."""
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read()), ""
    except urllib.error.HTTPError as error:
        with error:
            if error.code not in LATER and error.code < 500:
                sys.stderr.write(error.read().decode(errors="replace") + "\n")
                raise
            return {}, f"Connect answers {error.code}"
    except OSError as error:
        return {}, f"Connect does not answer ({type(error).__name__})"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
