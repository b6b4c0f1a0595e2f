"""The running operator: what starts, what wakes, what answers. Whatever decides is in `plan` and `build`.

| module       | holds                                                                    |
|--------------|--------------------------------------------------------------------------|
| `process`    | start and end of the process: who waits for whom                         |
| `leadership` | the Lease: one of several operators acts                                 |
| `machines`   | which FlowMachines there are, and a worker for each                      |
| `worker`     | one serial worker per FlowMachine                                        |
| `resources`  | kopf: one of them has changed                                            |
| `children`   | one of their objects was changed or deleted                              |
| `probes`     | /healthz, /readyz, /metrics                                              |
| `admission`  | the validating webhook                                                   |
| `logs`       | the form of log lines                                                    |
"""
