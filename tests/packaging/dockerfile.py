"""A Dockerfile as a list of steps, and its first stage played on this machine. Knows the instructions that ours uses, no more."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.packaging.compose_files import ROOT

KNOWN = {
    "ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "LABEL", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"
}  # fmt: skip
FROM_STAGE = re.compile(r"--from=(\S+)")


@dataclass
class Stage:
    """What follows one FROM. steps: instruction and the rest of its line, in order."""

    image: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [rest for word, rest in self.steps if word == instruction]

    def last(self, instruction: str) -> str:
        return self.all(instruction)[-1]

    def words(self, instruction: str) -> list[str]:
        """Of an instruction in its JSON form: what is run without a shell."""
        text = self.last(instruction)
        found: list[str] = json.loads(text[text.index("[") :])
        return found

    @property
    def environment(self) -> dict[str, str]:
        return dict(word.split("=", 1) for line in self.all("ENV") for word in shlex.split(line))

    def copies(self) -> Iterator[tuple[str | None, list[str], str]]:
        """The stage that is copied from, None for the build's context; the sources; the target."""
        for line in self.all("COPY"):
            *sources, target = [word for word in line.split() if not word.startswith("--")]
            found = FROM_STAGE.search(line)
            yield found[1] if found else None, sources, target


def read(path: Path = ROOT / "Dockerfile") -> tuple[dict[str, str], list[Stage]]:
    """The arguments before the first FROM, and the stages. Raises ValueError for an instruction that is not KNOWN."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for word, rest in instructions(path.read_text()):
        if word not in KNOWN:
            raise ValueError(f"{path.name} has a {word}, which the tests do not know")
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            stages.append(Stage(filled(image, arguments), name))
        elif stages:
            stages[-1].steps.append((word, rest))
        else:
            name, _, value = rest.partition("=")
            arguments[name] = value
    return arguments, stages


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """
    >>> list(instructions("# a\\nRUN a \\\\\\n    && b\\nUSER 1"))
    [('RUN', 'a     && b'), ('USER', '1')]
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", "").splitlines():
        word, _, rest = line.partition(" ")
        yield word, rest.strip()


def filled(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], text)


# ---------------------------------------------------------------- the context


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path of the repository out of the build: the last line that fits decides."""
    is_out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#") and fits(path, pattern.removeprefix("!")):
            is_out = not pattern.startswith("!")
    return is_out


def fits(path: str, pattern: str) -> bool:
    """A pattern without slash fits at the top, and what lies below it; `**/` fits at any depth.

    >>> fits("ingest/cli.py", "ingest"), fits("a/b/c.pyc", "**/*.py[co]"), fits("a/b.md", "b.md")
    (True, True, False)
    """
    parts = path.split("/")
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatch(part, pattern.removeprefix("**/")) for part in parts)
    return any(fnmatch.fnmatch("/".join(parts[: end + 1]), pattern) for end in range(len(parts)))


# ---------------------------------------------------------------- playing a stage


def play(stage: Stage, folder: Path, python: str) -> Path:
    """Run a stage's COPY and RUN below a folder instead of /; that folder. python: what the stage's image has by that name.

    Paths that begin a word (/opt/..., /src) are moved below the folder; nothing else is changed in a RUN.
    """
    environment = {**{name: os.environ[name] for name in ("PATH", "HOME")}, **pip_settings()}
    work = folder
    for word, rest in stage.steps:
        if word == "WORKDIR":
            work = folder / rest.lstrip("/")
            work.mkdir(parents=True)
        elif word == "ENV":
            environment |= dict(each.split("=", 1) for each in shlex.split(rest))
        elif word == "RUN":
            shell([moved(rest, folder).replace("python -m", f"{shlex.quote(python)} -m", 1)], work, environment)
        elif word == "COPY":
            copy(rest.split(), work)
    return folder


def pip_settings() -> dict[str, str]:
    """Where this machine's pip finds its packages, when its environment says so."""
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.lower().endswith("_proxy")}


def moved(command: str, folder: Path) -> str:
    """
    >>> moved("/opt/x/bin/pip install /opt/y", Path("/t"))
    '/t/opt/x/bin/pip install /t/opt/y'
    """
    return re.sub(r"(?<!\S)/(opt|src|srv)/", rf"{folder}/\1/", command)


def shell(command: Sequence[str], work: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run(["sh", "-c", *command], cwd=work, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"RUN {command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def copy(words: Sequence[str], work: Path) -> None:
    """From the context, without what .dockerignore keeps out, to a target below the work folder."""
    *sources, target = words
    for source in sources:
        path = ROOT / source
        if path.is_dir():
            kept = [each for each in sorted(path.rglob("*")) if each.is_file() and not ignored(str(each.relative_to(ROOT)))]
            pairs = [(each, work / target / each.relative_to(path)) for each in kept]
        else:
            pairs = [(path, work / target / source)]
        for each, there in pairs:
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(each, there)
