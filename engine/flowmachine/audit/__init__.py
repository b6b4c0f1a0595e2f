"""Was anything lost, doubled or changed? Judged saga by saga from what stands in a machine's topics; does no I/O.

    records of one key ─► evidence ─► replay ──(fits)──► record and commands compared ─► Verdict
                                        └──(does not)──► diagnose ────────────────────────┘

| module     | holds                                                                                        |
|------------|----------------------------------------------------------------------------------------------|
| `model`    | the scope of an audit, the records of one saga, findings and verdicts                        |
| `evidence` | what the log says about each input: refused, forwarded, not read yet, or silent              |
| `replay`   | looks for an order of the inputs that makes the recorded history, deciding each by the core  |
| `diagnose` | says what is wrong with the inputs when there is no such order                               |
| `compare`  | the saga's record and its commands against the replay                                        |
| `judge`    | puts it together, and says "not verifiable" where the log no longer holds what it would take |

The rule of the package: a finding is something that cannot be otherwise. What might have a harmless reason (records
that retention has removed, another machine, an engine at work) is not verifiable, never a finding.
"""
