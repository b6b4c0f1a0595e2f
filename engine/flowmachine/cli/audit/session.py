"""A FlowMachine and options -> the report."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flowmachine.adapters.javascript import JavaScriptHooks
from flowmachine.app import RunOptions, describe_log
from flowmachine.audit.judge import judge
from flowmachine.audit.model import Scope
from flowmachine.cli.audit.gather import MachineTopics, gather
from flowmachine.cli.audit.report import Report
from flowmachine.cli.audit.spill import Spill
from flowmachine.cli.log_reader import open_reader
from flowmachine.cli.progress import Advance
from flowmachine.config.build import build_machine
from flowmachine.config.resource import FlowMachine
from flowmachine.config.topic_names import input_topics, internal_topics, kafka_channels

CHECKED_STRIDE = 100
"""Sagas between two movements of the progress bar."""

Step = Callable[[str], Advance]
"""Begins a step of the progress bar."""


async def run_audit(resource: FlowMachine, options: RunOptions, step: Step) -> Report:
    """Read the log and judge every saga. Raises ConfigurationError, TransientError."""
    machine = build_machine(resource, JavaScriptHooks())
    report = Report(machine.name, machine.revision, describe_log(resource, options))
    with tempfile.TemporaryDirectory(prefix="flowmachine-audit-") as folder, Spill(Path(folder)) as spill:
        async with open_reader(resource, options) as log:
            now_ms = time.time_ns() // 1_000_000
            topics = _topics(resource)
            scope = await gather(log, machine, topics, spill, now_ms=now_ms, advance=step("reading"))
        _judge_all(scope, spill, report, step("checking"))
    return report


def _judge_all(scope: Scope, spill: Spill, report: Report, advance: Advance) -> None:
    total = spill.count_groups()
    for number, saga in enumerate(spill.groups(), start=1):
        report.add(judge(scope, saga))
        report.pending += sum(
            record.offset >= scope.committed.get((record.topic, record.partition), 0) for record in saga.inputs
        )
        if number % CHECKED_STRIDE == 0 or number == total:
            advance(number, total)


def _topics(resource: FlowMachine) -> MachineTopics:
    own = internal_topics(resource)
    return MachineTopics(
        intake=own.intake,
        sagas=own.sagas,
        unmatched=own.unmatched,
        inputs=input_topics(resource),
        command_topics={c.id: c.kafka.output_topics for c in resource.spec.channels if c.kafka},
        retention_finished_ms=resource.spec.settings.retention.finished_ms,
        may_share_inputs=any(channel.consumer_group for channel in kafka_channels(resource)),
    )
