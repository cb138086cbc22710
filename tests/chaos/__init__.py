"""The fault matrix: each row breaks one thing under load, and the model of `tests.oracle` judges what the worker left behind.

    python -m tests.chaos                       all rows (`make chaos`), kept in bench/results/chaos-*.jsonl
    python -m tests.chaos --short               a dozen (`make chaos-short`, part of `make test`)
    python -m tests.chaos --row killed --seed 7 rows by a part of their names, with another seed

INGEST_TEST_KAFKA_CLIENT=librdkafka and INGEST_TEST_WRITE_PATH=pg in the environment make the workers of all rows read and write
that way; leave such runs out of the results with --no-record.

To add a row, write a function over a `Rig` in the file of the server that it breaks, and put `row` of that file on it:

    @row(is_short=True, records=8_000)
    def connections_cut(rig: Rig) -> None:
        '''Every connection to CrateDB is reset for 5 s.'''     # the first line is what the docs show
        rig.proxy.rule = reset
        time.sleep(5)
        rig.proxy.rule = passing

When it is called, a worker runs, a tenth of the records is settled, and the load goes on at `rate` records a second. When it
returns, the fault must be over and everything that it changed mended: what the worker still needs then is its recovery. It may
wait for a sign (`rig.until`), start, kill and freeze workers (`rig.start_worker`, `Member`), look (`rig.committed`,
`rig.crate`), and note what it saw (`rig.seen["parked"] = ...`). For every row the frame then checks the same: `judge.py`.
`scenario.py` has the row and its life, `rig.py` what a fault can reach, `proxy.py` the way to CrateDB, `load.py` the records,
`watch.py` the looker-on, `judge.py` the verdict, `results.py` the lines and the table.
"""
