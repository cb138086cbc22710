"""Which table a record goes to, and what is parked instead of guessed."""

from __future__ import annotations

import pytest

from ingest.errors import Parked
from ingest.tables.contract import Contract
from ingest.tables.routing import Router, lower_case


def router(*contracts: Contract, prefix: str = "inventory_") -> Router:
    return Router(contracts, default_schema="doc", topic_prefix=prefix)


def refusal(routes: Router, topic: str, table: tuple[str, ...] = ()) -> Parked:
    with pytest.raises(Parked) as raised:
        routes.route(topic, table)
    return raised.value


ORDERS = Contract("doc.orders", topics=("inventory_orders", "^shop[.]public[.]orders$"))
ITEMS = Contract("doc.items", topics=("maxwell",))
USERS = Contract("crm.users", topics=("maxwell",))


@pytest.mark.parametrize(
    "topic, table, expected",
    [
        ("inventory_orders", (), "doc.orders"),
        ("shop.public.orders", ("shop", "public", "orders"), "doc.orders"),
        ("shop.public.orders_2", ("shop", "public", "orders_2"), "doc.orders_2"),
        ("maxwell", ("shop", "users"), "crm.users"),
        ("maxwell", ("shop", "ITEMS"), "doc.items"),
        ("inventory_parts", (), "doc.parts"),
        ("cluster.public.Parts", (), "doc.Parts"),
        ("anything", ("db", "parts"), "doc.parts"),
    ],
)
def test_contract_then_envelope_then_topic_decide(topic: str, table: tuple[str, ...], expected: str) -> None:
    routes = router(ORDERS, ITEMS, USERS)
    assert [expected, expected] == [routes.route(topic, table), routes.route(topic, table)]


def test_a_topic_of_several_contracts_whose_envelope_names_none_of_them_is_parked() -> None:
    for table in ((), ("shop", "other")):
        error = refusal(router(ITEMS, USERS), "maxwell", table)
        assert ("routing.undecided", "topic:maxwell") == (error.code, error.subject)


def test_two_topics_that_meet_in_one_table_park_the_second() -> None:
    routes = router()
    assert "doc.orders" == routes.route("a.orders", ())
    assert ("routing.undecided", "topic:b.orders") == (
        (error := refusal(routes, "b.orders")).code,
        error.subject,
    )
    assert "doc.orders" == routes.route("a.orders", ())


def test_a_contract_that_names_both_topics_lets_them_meet() -> None:
    routes = router(Contract("doc.orders", topics=("a.orders", "b.orders")))
    assert ["doc.orders"] * 2 == [routes.route("a.orders", ()), routes.route("b.orders", ())]
    assert "routing.undecided" == refusal(routes, "c.orders").code


def test_a_topic_of_many_tables_is_not_poured_into_the_one_contract_that_names_it() -> None:
    routes = router(ITEMS)
    assert "doc.items" == routes.route("maxwell", ("shop", "items"))
    assert "doc.items" == routes.route("maxwell", ("shop", "renamed"))
    assert "topic:maxwell" == refusal(routes, "maxwell", ("shop", "users")).subject


@pytest.mark.parametrize(
    "target", ["sys.jobs", "information_schema.tables", "pg_catalog.pg_class", "blob.x", "doc.ingest_migrations"]
)
def test_tables_of_the_system_and_of_ingest_are_never_targets(target: str) -> None:
    assert "routing.forbidden" == refusal(router(Contract(target, topics=("t",))), "t").code


@pytest.mark.parametrize("topic, table", [("inventory_", ()), ("t", ("s", "with.dot")), ("ends.", ())])
def test_a_name_that_no_table_can_have_is_parked(topic: str, table: tuple[str, ...]) -> None:
    assert "routing.undecided" == refusal(router(), topic, table).code


def test_the_second_name_to_try_is_the_folded_one() -> None:
    assert ("Doc.orders", None) == (lower_case("Doc.ORDERS"), lower_case("doc.orders"))
