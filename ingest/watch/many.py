"""One HTTP face for several workers of one host: each question goes to all of them, and their answers become one.

A worker that does not answer is told as such, and waited for no longer than ASK_S. Threads of the HTTP server only; the workers
are asked at the same time. No state.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from ingest.watch.http import HTML, TEXT, Reply, as_json
from ingest.watch.page import STYLE

ASK_S = 3.0
# A worker that has just started imports its packages before it listens.
START_S = 60.0
OWN_SERIES = (
    ("ingest_worker_up", "gauge", "1 while the process runs."),
    (
        "ingest_worker_starts_total",
        "counter",
        "How often the process was started. If it grows, its last lines in the log say why.",
    ),
)
METRICS = "text/plain; version=0.0.4; charset=utf-8"
SAMPLE = re.compile(r"([^\s{]+)(?:\{(.*)\})? (\S+)")
PAGES = ("/", "/metrics", "/healthz", "/readyz", "/parked", "/workers/NUMBER")

# The workers are neighbours: a proxy of the environment has no business between us.
_opener = build_opener(ProxyHandler({}))


class Worker(NamedTuple):
    """One worker process. url: where it listens. up_s: how long it has been running, None while it is not."""

    number: int
    url: str
    starts: int
    up_s: float | None


Answers = Mapping[Worker, Reply | None]


class ManyPages:
    """Path to reply, as `watch.http.Pages`. look: the workers as they are now, from any thread."""

    def __init__(self, look: Callable[[], Sequence[Worker]]) -> None:
        self._look = look
        self._gets: dict[str, Callable[[], Reply]] = {
            "/": lambda: Reply(200, HTML, page(self._ask("/readyz")).encode()),
            "/metrics": lambda: Reply(200, METRICS, metrics(self._ask("/metrics")).encode()),
            "/healthz": lambda: health(self._ask("/healthz")),
            "/readyz": lambda: ready(self._ask("/readyz")),
            "/parked": lambda: as_json(200, parked(self._ask("/parked"))),
        }

    def get(self, path: str, accept: str = "") -> Reply:  # noqa: ARG002  (metrics come in one format)
        name = urlsplit(path).path
        if name in self._gets:
            return self._gets[name]()
        number = name.removeprefix("/workers/")
        worker = next((each for each in self._look() if name != number and str(each.number) == number), None)
        if worker is None:
            return Reply(404, TEXT, f"there is: {', '.join(PAGES)}\n".encode())
        return ask(worker, "/") or Reply(503, TEXT, f"worker {number} does not answer\n".encode())

    def post(self, path: str, origin: str | None) -> Reply:
        """`/unpark?name=NAME`, handed to every worker: each refuses what it does not know."""
        headers = {} if origin is None else {"Origin": origin}
        answers = self._ask(path, "POST", headers)
        bodies = [(reply, json_of(reply)) for reply in answers.values() if reply is not None]
        accepted = sorted({subject for reply, body in bodies if reply.status == 202 for subject in body["unparking"]})
        if accepted:
            return as_json(202, {"unparking": accepted})
        if not bodies:
            return Reply(503, TEXT, b"no worker answers\n")
        if any("parked" not in body for _, body in bodies):
            return bodies[0][0]
        known = sorted({subject for _, body in bodies for subject in body["parked"]})
        return as_json(404, {"error": bodies[0][1]["error"], "parked": known})

    def _ask(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answers:
        workers = self._look()
        with ThreadPoolExecutor(len(workers)) as pool:
            return dict(zip(workers, pool.map(lambda worker: ask(worker, path, method, headers), workers), strict=True))


def ask(worker: Worker, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Reply | None:
    """What the worker answers, None if it does not."""
    if worker.up_s is None:
        return None
    try:
        with _opener.open(Request(worker.url + path, method=method, headers=dict(headers or {})), timeout=ASK_S) as answer:
            return Reply(answer.status, answer.headers["Content-Type"], answer.read())
    except HTTPError as error:
        with error:
            return Reply(error.code, error.headers["Content-Type"], error.read())
    except (URLError, OSError):
        return None


def json_of(reply: Reply | None) -> Any:
    """The answer's value, {} where it is none."""
    try:
        return json.loads(reply.body) if reply is not None else {}
    except ValueError:
        return {}


# ---------------------------------------------------------------- from many answers to one


def health(answers: Answers) -> Reply:
    """Well as long as no running worker is unwell; one that died is the supervisor's to start again."""
    lines, is_well = [], True
    for worker, reply in answers.items():
        is_starting = reply is None and (worker.up_s is None or worker.up_s < START_S)
        is_well = is_well and (is_starting or (reply is not None and reply.status == 200))
        lines.append(f"worker {worker.number}: {reply.body.decode().strip() if reply else state_of(worker)}\n")
    return Reply(200 if is_well else 503, TEXT, "".join(lines).encode())


def ready(answers: Answers) -> Reply:
    """Ready when all are; sums, and what each says under its number."""
    told = {worker: json_of(reply) for worker, reply in answers.items()}
    is_ready = all(each.get("ready") for each in told.values())
    reasons = [f"worker {w.number}: {r}" for w, each in told.items() for r in each.get("reasons", [state_of(w)])]
    summed = {name: sum(each.get(name) or 0 for each in told.values()) for name in ("assigned", "lag_records")}
    whole = {"ready": is_ready, "reasons": reasons, **summed, "parked": parked(answers, "parked")}
    return as_json(200 if is_ready else 503, whole | {"workers": {str(worker.number): each for worker, each in told.items()}})


def parked(answers: Answers, name: str = "") -> list[dict[str, Any]]:
    """What is parked, with the worker that parked it. name: where in an answer that stands, "" if the answer is it."""
    found: list[dict[str, Any]] = []
    for worker, reply in answers.items():
        told = json_of(reply)
        places = told.get(name, []) if isinstance(told, dict) else told
        found += [{**place, "worker": worker.number} for place in places]
    return found


def metrics(answers: Answers) -> str:
    """The workers' metrics with a label for the worker, each family once, and how the workers themselves are."""
    families: dict[str, tuple[dict[str, None], list[str]]] = {}
    for worker, reply in answers.items():
        text = own_metrics(worker) + (reply.body.decode() if reply and reply.status == 200 else "")
        name = ""
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
            heads, samples = families.setdefault(name, ({}, []))
            if line.startswith("#"):
                heads[line] = None
            else:
                samples.append(labelled(line, worker.number))
    return "".join(f"{line}\n" for heads, samples in families.values() for line in (*heads, *samples))


def own_metrics(worker: Worker) -> str:
    """What is known of a worker that does not answer, too."""
    values = (worker.up_s is not None, worker.starts)
    return "".join(
        f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {float(value)}\n"
        for (name, kind, text), value in zip(OWN_SERIES, values, strict=True)
    )


def labelled(sample: str, number: int) -> str:
    """
    >>> labelled('a_total{code="x}"} 3.0', 1), labelled("b 0.5", 1)
    ('a_total{code="x}",worker="1"} 3.0', 'b{worker="1"} 0.5')
    """
    found = SAMPLE.fullmatch(sample)
    if found is None:
        return sample
    labels = f"{found[2]}," if found[2] else ""
    return f'{found[1]}{{{labels}worker="{number}"}} {found[3]}'


def page(answers: Answers) -> str:
    """A table of the workers, each with the way to its own page; loads itself again every five seconds."""
    rows = "".join(map(_row, answers.items()))
    head = "".join(f"<th>{name}</th>" for name in ("worker", "state", "starts", "partitions", "lag", "says"))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        f"<title>ingest</title><style>{STYLE}</style></head><body><h1>ingest, {len(answers)} workers</h1>"
        f"<table><tr>{head}</tr>{rows}</table></body></html>\n"
    )


def _row(item: tuple[Worker, Reply | None]) -> str:
    worker, told = item[0], json_of(item[1])
    state = "ready" if told.get("ready") else "not ready" if told else state_of(worker)
    name = f'<a href="/workers/{worker.number}">{worker.number}</a>'
    numbers: Iterable[object] = (worker.starts, told.get("assigned", ""), told.get("lag_records", ""))
    cells = "".join(f'<td class="n">{escape(str(value))}</td>' for value in numbers)
    return f"<tr><td>{name}</td><td>{state}</td>{cells}<td>{escape('; '.join(told.get('reasons', ())))}</td></tr>"


def state_of(worker: Worker) -> str:
    """Of one that gives no answer."""
    return "does not run" if worker.up_s is None else f"does not answer, started {worker.up_s:.0f} s ago"
