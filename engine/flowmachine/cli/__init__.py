"""The command `flowmachine`.

| module          | holds                                                                          |
|-----------------|--------------------------------------------------------------------------------|
| `main`          | the entry, and the one table of commands                                       |
| `command`       | what a command is, and the exit codes                                          |
| `run`, `serve`  | `run`: an engine until SIGTERM                                                 |
| `project`       | `project`: the store's copy apart from the engines; `serve` does the work      |
| `check`         | `check`: what is wrong, and what looks wrong, in a file                        |
| `importing`     | `import`: a Flow Manager configuration as a FlowMachine                        |
| `comparing`     | `import --compare`: recorded inputs, decided twice                             |
| `audit`         | `audit`: what the topics say against what the machine says                     |
| `diagram`       | `diagram`: the machine as SVG, Mermaid or text                                 |
| `sagas`         | `sagas`: list, read and watch sagas; copy all of them                          |
| `demo`          | `demo`: the newcomer's minute                                                  |
| `source`        | `-f FILE` and the environment -> a FlowMachine                                 |
| `problem_text`  | problems and findings for people                                               |
| `log_options`   | options of the commands that work on a machine's log                           |
| `log_reader`    | reading a machine's whole log, beside its engines                              |
| `output`        | the standard output, the standard error output, files                          |
| `progress`      | bars, for what takes long                                                      |
| `logs`          | how log lines look                                                             |
"""
