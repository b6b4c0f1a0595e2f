"""The running operator: what starts, what wakes, what answers. Whatever decides is in `plan` and `build`.

| module       | holds                                                                    |
|--------------|--------------------------------------------------------------------------|
| `process`    | start and end of the process: who waits for whom                         |
| `leadership` | the Lease: one of several operators acts                                 |
| `probes`     | /healthz, /readyz, /metrics                                              |
| `logs`       | the form of log lines                                                    |
"""
