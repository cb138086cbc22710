"""Settings: every problem at once, no secret shown, one declaration from which the reference page follows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from ingest.environ import DECIDED_BY_US, KAFKA_OPTIONS
from ingest.errors import Stop
from ingest.kafka.options import OURS, consumer_options
from ingest.memory import BASE_MB, MB, memory
from ingest.settings import Settings
from ingest.tools import connect
from ingest.tools import settings as tool

ROOT = Path(__file__).parents[2]
SECRET = "hunter2-is-no-good-password"


def lines_of(environ: dict[str, str], needs: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(Stop) as caught:
        Settings.load(environ, needs)
    assert "settings.invalid" == caught.value.code
    return caught.value.text.splitlines()


def test_an_empty_environment_is_fine_and_only_what_is_needed_is_missing() -> None:
    assert "ingest.dlq" == Settings.load({}).dead_letter_topic
    assert ["INGEST_TOPICS: is missing; allowed: names and ^patterns, comma-separated"] == lines_of({}, ("topics",))


def test_all_problems_are_reported_at_once_each_with_name_value_and_what_is_allowed() -> None:
    lines = lines_of(
        {
            "INGEST_BATCH_MAX_ROWS": "0",
            "INGEST_WRITERS": "many",
            "INGEST_TOPIC": "orders",
            "INGEST_KAFKA_FETCH_MIN_BYTES": "little",
            "INGEST_ON_GAP": "jump",
        },
        ("topics",),
    )
    assert [
        "INGEST_BATCH_MAX_ROWS=0: is not what it takes; allowed: 1 to 50000 rows",
        "INGEST_KAFKA_FETCH_MIN_BYTES=little: is not what the Kafka client takes; allowed: 1 to 2147483648 bytes",
        "INGEST_ON_GAP=jump: is not what it takes; allowed: park, continue",
        "INGEST_TOPIC: there is no such setting; the nearest name is INGEST_TOPICS",
        "INGEST_TOPICS: is missing; allowed: names and ^patterns, comma-separated",
        "INGEST_WRITERS=many: is not what it takes; allowed: 1 to 64 requests",
    ] == lines


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("INGEST_CRATE_URLS", "ftp://db:4200", "allowed: http(s)://host:port"),
        ("INGEST_CRATE_URLS", "http://db:99999", "allowed: http(s)://host:port"),
        ("INGEST_CRATE_CA_FILE", "/nowhere/ca.pem", "allowed: the path of a file that exists"),
        ("INGEST_TOPICS", "^(", "allowed: names and ^patterns"),
        ("INGEST_MIGRATE", "maybe", "allowed: true or false"),
        ("INGEST_DLQ_MAX_RATIO", "nan", "allowed: 0 to 1 ratio"),
        ("INGEST_MONTH_MAX", "-1", "allowed: 0 to 1200 months"),
        ("INGEST_CRATE_TIMEOUT_S", "30", "allowed: 61 to 600 s"),
        ("INGEST_LOG_LEVEL", "loud", "allowed: DEBUG, INFO, WARNING, ERROR"),
        ("INGEST_KAFKA_SSL_CHECK_HOSTNAME", "perhaps", "allowed: true or false"),
        ("INGEST_KAFKA_API_VERSION", "new", "a version such as 3.9"),
        ("INGEST_KAFKA_SECURITY_PROTOCOL", "TLS", "allowed: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
        ("INGEST_KAFKA_SECURTY_PROTOCOL", "SSL", "the nearest name is INGEST_KAFKA_SECURITY_PROTOCOL"),
        ("INGEST_KAFKA_BOOTSTRAP_SERVER", "a:1", "the nearest name is INGEST_KAFKA_BOOTSTRAP_SERVERS"),
        ("INGEST_KAFKA_ENABLE_AUTO_COMMIT", "true", "is decided by ingest itself"),
        ("INGEST_CRATE_PASWORD_FILE", "/x", "there is no such setting"),
        ("INGEST_ZZZZZZZZ", "1", "`ingest settings` lists them all"),
    ],
)
def test_a_wrong_value_or_name_is_one_line(name: str, value: str, part: str) -> None:
    (line,) = lines_of({name: value})
    assert line.startswith(name)
    assert part in line


@pytest.mark.parametrize(
    ("environ", "start"),
    [
        ({"INGEST_MEMORY_MB": "128"}, "INGEST_MEMORY_MB=128: too little"),
        ({"INGEST_REVOKE_S": "90"}, "INGEST_REVOKE_S=90: draining"),
        ({"INGEST_REVOKE_S": "10", "INGEST_KAFKA_MAX_POLL_INTERVAL_MS": "10000"}, "INGEST_REVOKE_S=10: draining"),
        ({"INGEST_KAFKA_SASL_MECHANISM": "PLAIN"}, "INGEST_KAFKA_SECURITY_PROTOCOL=PLAINTEXT: "),
        ({"INGEST_KAFKA_SECURITY_PROTOCOL": "sasl_ssl"}, "INGEST_KAFKA_SASL_MECHANISM: is missing"),
        ({"INGEST_TOPICS": "a,ingest.dlq"}, "INGEST_DLQ_TOPIC=ingest.dlq: is read as well"),
        ({"INGEST_HTTP_PORT": "65535", "INGEST_WORKERS": "2"}, "INGEST_HTTP_PORT=65535: 2 workers"),
        ({"INGEST_CRATE_KEY_FILE": __file__}, "INGEST_CRATE_CERT_FILE: is missing"),
    ],
)
def test_combinations_that_break_a_promise_are_refused_with_the_reason(environ: dict[str, str], start: str) -> None:
    (line,) = lines_of(environ)
    assert line.startswith(start)


def test_the_memory_that_a_refusal_names_is_enough() -> None:
    (line,) = lines_of({"INGEST_MEMORY_MB": "128"})
    enough = line.split("at least ")[1].split()[0]
    assert int(enough) == Settings.load({"INGEST_MEMORY_MB": enough}).memory_mb


def test_no_secret_is_ever_shown(tmp_path: Path) -> None:
    environ = {
        "INGEST_CRATE_PASSWORD": SECRET,
        "INGEST_SCHEMA_REGISTRY_PASSWORD": SECRET,
        "INGEST_CRATE_URLS": f"https://ann:{SECRET}@db:4200",
        "INGEST_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "INGEST_KAFKA_SASL_MECHANISM": "PLAIN",
        "INGEST_KAFKA_SASL_PLAIN_PASSWORD": SECRET,
        "INGEST_KAFKA_PROXY_URL": f"http://ann:{SECRET}@proxy:1",
    }
    settings = Settings.load(environ)
    for text in (repr(settings), str(settings), tool.as_table(settings), tool.as_json(settings)):
        assert SECRET not in text
    assert SECRET not in "\n".join(lines_of(environ | {"INGEST_CRATE_URLS": f"ftp://ann:{SECRET}@db", "INGEST_WRITERS": "x"}))
    assert SECRET == settings.kafka_options["sasl_plain_password"]


def test_a_secret_comes_from_a_file_and_its_source_is_told(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET + "\n")
    settings = Settings.load({"INGEST_CRATE_PASSWORD_FILE": str(file), "INGEST_KAFKA_SSL_PASSWORD_FILE": str(file)})
    assert settings.crate_password is not None
    assert SECRET == settings.crate_password.get_secret_value()
    assert SECRET == settings.kafka_options["ssl_password"]
    assert f"file {file}" == settings.source_of("crate_password")


def test_a_secret_given_twice_or_in_an_unreadable_file_is_a_problem(tmp_path: Path) -> None:
    assert "cannot be read" in lines_of({"INGEST_CRATE_PASSWORD_FILE": str(tmp_path / "none")})[0]
    file = tmp_path / "password"
    file.write_text(SECRET)
    assert "is set together with" in lines_of({"INGEST_CRATE_PASSWORD": SECRET, "INGEST_CRATE_PASSWORD_FILE": str(file)})[0]


def test_names_of_the_tests_and_empty_texts_are_no_settings() -> None:
    settings = Settings.load({"INGEST_TEST_KAFKA": "a:1", "INGEST_SAMPLES": "x", "INGEST_WRITERS": "  ", "OTHER": "y"})
    assert "default" == settings.source_of("writers")


def test_topics_are_split_at_commas_but_not_inside_a_pattern() -> None:
    assert ("orders", "^t_[0-9]{1,3}$") == Settings.load({"INGEST_TOPICS": "orders, ^t_[0-9]{1,3}$,"}).topics


# ---------------------------------------------------------------- the Kafka client's options


def defaults() -> dict[str, object]:
    return {**KafkaAdminClient.DEFAULT_CONFIG, **KafkaProducer.DEFAULT_CONFIG, **KafkaConsumer.DEFAULT_CONFIG}


def test_every_option_that_we_pass_through_exists_and_none_is_decided_by_us() -> None:
    assert set() == KAFKA_OPTIONS.keys() - defaults().keys()
    assert set() == KAFKA_OPTIONS.keys() & (OURS | DECIDED_BY_US)


def test_every_option_of_the_client_that_a_text_can_say_is_known() -> None:
    sayable = {name for name, value in defaults().items() if isinstance(value, (str, int, float, bool))}
    assert set() == sayable - KAFKA_OPTIONS.keys() - DECIDED_BY_US - {"bootstrap_servers"}


def test_options_reach_the_client_typed_and_win_over_what_is_derived() -> None:
    settings = Settings.load(
        {
            "INGEST_TOPICS": "a",
            "INGEST_KAFKA_FETCH_MAX_BYTES": "123456",
            "INGEST_KAFKA_SECURITY_PROTOCOL": "SSL",
            "INGEST_KAFKA_SSL_CHECK_HOSTNAME": "no",
            "INGEST_KAFKA_API_VERSION": "3.9",
            "INGEST_KAFKA_GROUP_INSTANCE_ID": "pod-1",
        }
    )
    options = consumer_options(connect.kafka_settings(settings))
    assert (123456, False, (3, 9), "pod-1") == (
        options["fetch_max_bytes"],
        options["ssl_check_hostname"],
        options["api_version"],
        options["group_instance_id"],
    )
    assert settings.memory.max_partition_fetch_bytes == options["max_partition_fetch_bytes"]


# ---------------------------------------------------------------- what follows


@pytest.mark.parametrize("memory_mb", [200, 512, 1_024, 65_536])
@pytest.mark.parametrize("writers", [1, 4, 16])
def test_all_shares_together_stay_within_the_memory(memory_mb: int, writers: int) -> None:
    shares = memory(memory_mb, writers, 4 * MB)
    whole = (
        BASE_MB * MB + 2 * shares.fetch_max_bytes + shares.dead_letter_bytes + 2 * writers * 4 * MB + max(0, shares.high_bytes)
    )
    assert whole <= memory_mb * MB or not shares.is_enough
    assert shares.max_partition_fetch_bytes <= shares.fetch_max_bytes


def test_the_loop_gets_the_marks_in_its_own_units() -> None:
    rules = connect.rules(Settings.load({"INGEST_BATCH_LINGER_MS": "250", "INGEST_GROUP_ID": "g"}))
    assert (0.25, "g") == (rules.batch.linger_s, rules.group_id)
    assert 2 * rules.low_bytes in (rules.high_bytes, rules.high_bytes - 1)


# ---------------------------------------------------------------- how they are shown


def test_the_table_says_where_each_value_came_from() -> None:
    lines = tool.as_table(Settings.load({"INGEST_WRITERS": "7", "INGEST_KAFKA_CLIENT_ID": "me"})).splitlines()
    assert ["INGEST_WRITERS", "7", "4", "environment"] in [line.split() for line in lines]
    assert ["INGEST_GROUP_ID", "ingest", "ingest", "default"] in [line.split() for line in lines]
    assert "INGEST_KAFKA_CLIENT_ID" in lines[-1]


def test_as_json_has_one_entry_per_setting() -> None:
    rows = json.loads(tool.as_json(Settings.load({})))
    assert len(Settings.model_fields) == len(rows)
    assert {"name", "value", "default", "source"} == set(rows[0])


def test_the_reference_page_is_what_the_declarations_say() -> None:
    """`make docs` writes it."""
    assert tool.as_markdown() == (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def test_every_group_of_the_reference_page_begins_with_a_setting_that_exists() -> None:
    assert set() == tool.GROUPS.keys() - Settings.model_fields.keys()


def test_every_setting_has_a_help_that_is_a_sentence() -> None:
    for name, info in Settings.model_fields.items():
        assert info.description, name
        assert info.description[-1] in ".`", name
