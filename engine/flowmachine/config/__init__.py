"""Configuration: text or documents -> a typed FlowMachine, or every problem at once. Reads no file and no variable.

| module                          | holds                                                                           |
|---------------------------------|---------------------------------------------------------------------------------|
| `load`                          | the entry: text or a decoded document -> `FlowMachine`                           |
| `text`, `yaml_text`             | bytes -> documents, within limits of size, depth and number of values            |
| `documents`                     | what a decoded document is, and paths into it                                    |
| `flow_manager`                  | Flow Manager's `saga.json` -> the FlowMachine form, with the way back to its paths |
| `resource`                      | the resource, made of `machine_model`, `channels`, `settings`, `secret_value`    |
| `problems`                      | pydantic's errors -> short sentences, with suggestions                           |
| `references`                    | what a schema cannot say: ids that must exist, ids that must be unique           |
| `topic_names`                   | a resource -> the topics and the consumer group that it uses                     |
| `schemas`                       | payload schemas -> callables                                                     |
| `build`                         | `FlowMachine` -> the core's `Machine`                                            |
"""
