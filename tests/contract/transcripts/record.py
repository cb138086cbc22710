"""Records what a real CrateDB answers to the themes: `python -m tests.contract.transcripts.record http://host:4200`.

Drops and makes tables in the schema `transcripts` of that server, and writes one JSON file per theme beside this file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import urllib3

from tests.contract.transcripts.ask import SCHEMA, Ask
from tests.contract.transcripts.themes import THEMES

HERE = Path(__file__).resolve().parent
CELL_CHARS = 200  # of one value in a recorded request or answer; longer ones are told by their length


class Conversation:
    """One kept-alive connection to a `/_sql`."""

    def __init__(self, url: str) -> None:
        self._http = urllib3.PoolManager(retries=False, timeout=60.0)
        self._url = url.rstrip("/") + "/_sql"

    def say(self, ask: Ask) -> dict[str, Any]:
        """Status and answer, without what differs from run to run."""
        answer = self._http.request("POST", self._url, json=ask.body())
        told = answer.json()
        told.pop("duration", None)
        return {"status": answer.status, "answer": told}

    def start_afresh(self) -> None:
        """An empty schema."""
        for kind, word in (("VIEW", "VIEW"), ("BASE TABLE", "TABLE")):
            named = "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_type = ?"
            found = Ask(named, [SCHEMA, kind])
            for (name,) in self.say(found)["answer"]["rows"]:
                self.say(Ask(f'DROP {word} "{SCHEMA}"."{name}"'))

    def close(self) -> None:
        self._http.clear()


def recorded(conversation: Conversation, asks: Any) -> list[dict[str, Any]]:
    """A theme with its answers."""
    conversation.start_afresh()
    return [shortened({"request": ask.body(), **conversation.say(ask)}) for ask in asks]


def shortened(value: Any) -> Any:
    """The same with long texts replaced by a head and their length, so that the files stay readable."""
    if isinstance(value, str) and len(value) > CELL_CHARS * 10:
        return f"{value[:10]}... ({len(value)} characters)"
    if isinstance(value, dict):
        return {key: shortened(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [shortened(part) for part in value]
    return value


def main(url: str) -> None:
    conversation = Conversation(url)
    for name, asks in THEMES.items():
        steps = recorded(conversation, asks)
        lines = ",\n".join(json.dumps(step, ensure_ascii=False) for step in steps)
        (HERE / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
        sys.stdout.write(f"{name}: {len(steps)} answers\n")
    conversation.start_afresh()
    conversation.close()


if __name__ == "__main__":
    main(sys.argv[1])
