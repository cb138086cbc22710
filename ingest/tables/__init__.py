"""Envelope -> Change, pure: a contract and a table compiled into a mapper.

`contract` reads schemas/*.toml, `checks` holds them against the catalogue, `routing` names the table of an envelope,
`mapper` turns envelopes into changes; `types` and its neighbours hold one converter per source type and column type.
Nothing here knows a clock, a socket or Kafka: the loop's thread calls in and gets values back.
"""
