"""A document -> YAML that every reader takes for the same document, and that a person can read.

PyYAML writes for YAML 1.1; readers of 1.2 (ours, and others) take some of its plain texts for numbers (`1e3`, `0o17`).
Such texts are quoted. Texts of several lines, such as hooks, become blocks.
"""

import yaml

from flowmachine.config.yaml_text import resolve_plain


class _Dumper(yaml.SafeDumper):
    """No aliases: a document is a tree."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(_dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style: str | None = None
    if "\n" in text and not any(line != line.rstrip() for line in text.split("\n")) and "\t" not in text:
        style = "|"
    elif resolve_plain(text) != text or not isinstance(resolve_plain(text), str):
        style = '"'
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def write_yaml(document: dict[str, object]) -> str:
    """The text of one document."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
