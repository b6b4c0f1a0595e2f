"""Total functions that decide: facts in, a frozen plan out. Nothing here reads a clock or asks the API server.

| module       | decides                                                      |
|--------------|--------------------------------------------------------------|
| `replicas`   | how many engines run, and why                                |
| `facts`      | what the operator has seen: the input of `conditions`        |
| `verdict`    | what holds a machine up, the most fundamental thing first    |
| `conditions` | the conditions of the status                                 |
"""
