"""docs/formats.md says what the code and the cases say."""

from __future__ import annotations

from ingest.formats.decoder import FORMATS
from tests.cases import formats_page


def test_every_format_says_what_it_reads() -> None:
    assert sorted(formats_page.READS) == sorted(FORMATS)


def test_the_page_is_not_stale() -> None:
    assert formats_page.PAGE.read_text(encoding="utf-8") == formats_page.page(), "run `make docs`"
