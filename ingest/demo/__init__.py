"""`ingest demo`: the real worker at work within a minute, on servers of its own or on yours, and a judge of the result.

Start reading at `run`: it is the order of events. What is written stands in `stream` and the three sources behind it (`stock`,
`shop`, `sensors`, and `spoiled` for what no table can hold), what must come of it in `truth`, servers and workers in `stage`,
what is seen in `look`, `screen` and `report`. An outermost room like `tools`: nothing imports it but the command line.
"""
