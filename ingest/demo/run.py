"""The order of events of `ingest demo`. Everything happens in the main thread, but for the feed of `producer`.

stage -> tables -> records -> check -> two workers -> one is killed -> the rest is done -> judged -> shown -> taken down
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ingest.demo import files, stage
from ingest.demo.children import Children
from ingest.demo.patience import Patience
from ingest.demo.play import Play
from ingest.demo.producer import CHUNK, Writer, now_ms
from ingest.demo.screen import Screen, usual_console
from ingest.demo.site import PREFIX_ON_REAL_SERVERS, Site
from ingest.demo.stream import Stream
from ingest.errors import Stop

FINE, DIFFERENT = 0, 1
RECORDS, FEWEST = 30_000, 2_000


@dataclass(frozen=True)
class Options:
    """What was asked for. kafka, crate: addresses of real servers, None for the demo's own."""

    records: int = RECORDS
    keep: bool = False
    kafka: str | None = None
    crate: str | None = None
    produce_only: bool = False
    clean: bool = False
    export_dir: str | None = None


def run(options: Options, screen: Screen | None = None) -> int:
    """The exit code. Raises IngestError for what keeps the demo from playing, KeyboardInterrupt when it was ended."""
    refuse_contradictions(options)
    screen = screen or Screen(usual_console())
    if options.export_dir is not None:
        return export(options, screen)
    try:
        return played(options, screen)
    except KeyboardInterrupt:
        screen.say("Ended. Nothing is left behind.")
        raise


def played(options: Options, screen: Screen) -> int:
    """Whatever is started or made is ended and removed before this returns or raises."""
    with ExitStack() as stack:
        patience = stack.enter_context(Patience())
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="ingest-demo-")))
        children = stack.enter_context(Children(folder))
        if options.clean or options.produce_only:
            site = real_site(options, folder)
            return clean(site, screen) if options.clean else produce_only(site, options, screen, patience)
        with a_site(options, screen, children, folder, patience) as site:
            return Play(site, screen, children, patience, options.records, stays=options.keep).play()


def refuse_contradictions(options: Options) -> None:
    """Raises Stop with a code of wrong usage."""
    if (options.kafka is None) != (options.crate is None) and not (options.produce_only and options.kafka):
        raise Stop("settings.demo", "--kafka and --crate belong together: name both servers, or none to use the demo's own")
    if (options.clean or options.produce_only) and options.kafka is None:
        raise Stop("settings.demo", "--clean and --produce-only are for servers of yours: name them with --kafka and --crate")
    if options.records < FEWEST:
        raise Stop("settings.demo", f"--records {options.records} is too few to show anything: {FEWEST} at least")


@contextmanager
def a_site(options: Options, screen: Screen, children: Children, folder: Path, patience: Patience) -> Iterator[Site]:
    """The servers, with sql/ and schemas/ written for the workers. On real ones everything of the demo is removed at the end."""
    if options.kafka is None:
        site = stage.own_servers(children, folder, patience)
        files.export(folder, site.prefix)
        yield site
        return
    site = real_site(options, folder)
    files.export(folder, site.prefix)
    stage.refuse_what_is_there(site)
    stays = False
    try:
        yield site
        stays = options.keep
    finally:
        if not stays:
            screen.say("Removing the demo's topics and tables.")
            children.end_workers()
            stage.clean(site)


def real_site(options: Options, folder: Path) -> Site:
    assert options.kafka is not None
    return Site(options.kafka, options.crate or "http://localhost:4200", is_ours=False, folder=folder, environ=os.environ)


# ---------------------------------------------------------------- parts that can be asked for alone


def export(options: Options, screen: Screen) -> int:
    """The demo's SQL files, contracts and Avro schema, for a look or for a worker of your own."""
    folder = Path(options.export_dir or "")
    try:
        written = files.export(folder, PREFIX_ON_REAL_SERVERS)
    except OSError as error:
        raise Stop("settings.demo", f"cannot write into {folder} ({error.strerror}): name another folder") from error
    for path in written:
        screen.console.print(str(path), soft_wrap=True)
    return FINE


def produce_only(site: Site, options: Options, screen: Screen, patience: Patience) -> int:
    """Topics with all records in them, for workers that somebody else starts. Nothing is done where the topics exist."""
    there = stage.topics_there(site)
    if there:
        screen.console.print(f"topic {there[0]} exists already, so nothing was written")
        return FINE
    try:
        stage.make_topics(site)
        stream = produced(site, options.records, patience)
    except BaseException:  # half of the records would look like all of them to the next start
        stage.remove_topics(site)
        raise
    screen.console.print(f"{stream.truth.records:,} records written to {', '.join(site.topics)}", soft_wrap=True)
    return FINE


def produced(site: Site, records: int, patience: Patience) -> Stream:
    """The whole stream, written."""
    stream, writer = Stream(site.topics, now_ms()), Writer(site)
    try:
        writer.write(stream.beginning(now_ms()))
        while stream.truth.records < records:
            patience.check()
            writer.write(stream.take(min(CHUNK, records - stream.truth.records), now_ms()))
        writer.write(stream.ending(now_ms()))
        writer.flush()
    finally:
        writer.close()
    return stream


def clean(site: Site, screen: Screen) -> int:
    gone = stage.clean(site)
    for what in gone:
        screen.console.print(f"removed {what}")
    if not gone:
        screen.console.print("nothing of the demo was there")
    return FINE
