"""One file per child kind; `build_*` returns a manifest as a plain dict, or None when the child must not exist.

| module                                                    | holds                                                    |
|-----------------------------------------------------------|----------------------------------------------------------|
| `subject`                                                 | whose children they are, and what the operator was told  |
| `identity`                                                | names within limits, labels, owner references            |
| `document`                                                | the FlowMachine for the engines, without literal secrets |
| `template`                                                | the user's overrides, checked and merged into a pod      |
| `pod`, `deployment`                                       | the engines                                              |
| `config_map`, `secret`, `service`, `service_account`, ... | one child each                                           |

No function here reads anything: the same arguments give the same manifests, so that a second look writes nothing.
"""
