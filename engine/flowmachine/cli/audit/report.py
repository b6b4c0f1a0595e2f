"""What an audit says: counts and findings, as text for people or as one JSON object (`docs/audit.md`)."""

import json
from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from flowmachine.audit.model import Finding, Verdict
from flowmachine.cli.problem_text import count
from flowmachine.diagram.typography import clean_text

FINDINGS_MAX = 1_000
"""Findings that are kept one by one; more are only counted: a thousand tell what ten thousand tell."""

EXAMPLES_MAX = 20
"""Findings and sagas of one kind that the text shows; the JSON output has them all, up to `FINDINGS_MAX`."""


@dataclass(slots=True)
class Report:
    """The sum of all verdicts."""

    machine: str
    revision: str
    log: str
    sagas: int = 0
    verified: int = 0
    commands: int = 0
    pending: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])
    counts: Counter[str] = field(default_factory=Counter[str])
    """By kind of finding, all of them."""
    unverified: Counter[str] = field(default_factory=Counter[str])
    examples: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Reason -> a saga that is not verifiable for it, and the detail."""

    @property
    def is_clean(self) -> bool:
        """No finding."""
        return not self.counts

    def add(self, verdict: Verdict) -> None:
        """Count one verdict."""
        self.sagas += verdict.is_saga
        self.commands += verdict.commands
        self.counts.update(finding.kind.value for finding in verdict.findings)
        self.findings += verdict.findings[: FINDINGS_MAX - len(self.findings)]
        if verdict.unverified is not None:
            self.unverified[verdict.unverified.value] += 1
            self.examples.setdefault(verdict.unverified.value, (verdict.saga_id, verdict.detail))
        elif not verdict.findings:
            self.verified += verdict.is_saga


def to_json(report: Report) -> str:
    """The report as documented."""
    document = {
        "machine": report.machine,
        "revision": report.revision,
        "log": report.log,
        "isClean": report.is_clean,
        "sagas": report.sagas,
        "verified": report.verified,
        "commands": report.commands,
        "pendingInputs": report.pending,
        "notVerifiable": [
            {
                "reason": reason,
                "count": number,
                "example": {"sagaId": report.examples[reason][0], "detail": report.examples[reason][1]},
            }
            for reason, number in sorted(report.unverified.items())
        ],
        "findingCounts": dict(sorted(report.counts.items())),
        "findings": [
            {"kind": finding.kind.value, "sagaId": finding.saga_id, "where": finding.where, "message": finding.message}
            for finding in report.findings
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def print_report(console: Console, report: Report) -> None:
    """The report for people."""
    title = f"{report.machine} (revision {report.revision}), {report.log}"
    console.print(Text(clean_text(title), "bold"))
    by_kind: dict[str, list[Finding]] = {}
    for finding in report.findings:
        by_kind.setdefault(finding.kind.value, []).append(finding)
    for kind, findings in by_kind.items():
        console.print(Text.assemble(("  ✗ ", "red"), (kind, "bold"), (f"  {report.counts[kind]}", "dim")))
        for finding in findings[:EXAMPLES_MAX]:
            where = f" at {finding.where}" if finding.where else ""
            console.print(Text(f"    {clean_text(f'saga {finding.saga_id}{where}: {finding.message}')}"))
        if report.counts[kind] > EXAMPLES_MAX:
            console.print(Text(f"    and {report.counts[kind] - EXAMPLES_MAX} more", "dim"))
    for reason, number in sorted(report.unverified.items()):
        saga_id, detail = report.examples[reason]
        console.print(Text.assemble(("  ? ", "yellow"), (reason, "bold"), f"  {count(number, 'saga')} not verifiable"))
        console.print(Text(f"    for example {clean_text(f'{saga_id}: {detail}')}", "dim"))
    style = "green" if report.is_clean else "red"
    said = f"{count(report.sagas, 'saga')}: {report.verified} verified, {report.unverified.total()} not verifiable"
    facts = (
        f"{count(report.commands, 'command')} looked at, {count(report.pending, 'input')} not read by the engine yet"
    )
    console.print(Text(f"{said}; {count(report.counts.total(), 'finding')}; {facts}", f"bold {style}"))
