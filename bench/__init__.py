"""What FlowMachine costs: throughput, latency, memory and restore, measured on a real broker of this machine.

`python -m bench`, or `make bench`. Speed is measured beside a program that does the same transactions without any logic
(`passthrough`), on the same broker, in alternating rounds: a ratio says something on any machine, a number only on one.
`docs/performance.md` explains the figures.

Modules, lower ones first:

errors         a round that failed
sizes          how much is measured: full and quick
processes      what a process costs, from /proc; the programs under test as children
workload       the order machine, its sagas and events, and what the engine writes for them
broker         topics, appended records and committed offsets of the broker
bare           what the programs that the engine is compared with have in common; imports nothing of FlowMachine
passthrough    the bare program (a process)
floor          the hand-written loop (a process)
counting       a count that grows, and how fast
watching       how the loads watch a topic
load, journey_load, loop_load, http_load   send, and note when the answer can be read (processes)
endpoint       what a REST channel's commands go to (a process)
keeper         the smallest service behind the stores rest and crud (a process)
memory_probe   restores sagas and looks at its own memory (a process)
lab            what all measurements share: the broker, a folder, a voice
programs       the programs under test on topics of their own
throughput, latency, utilization, journey, loop, http, rest, users, handover, memory, restore, hooks, growth,
projection, stores   the measurements
figures        a figure, its target, and the facts of the machine that it was measured on
report         the file of results, and the table
cli            options, and the order of it all
"""
