from pathlib import Path

import pytest

from flowmachine.errors import ConfigurationError
from flowmachine_operator.settings import describe_settings, parse_settings

NEEDED = {"FLOWMACHINE_OPERATOR_ENGINE_IMAGE": "flowmachine:1"}


def problems_of(environment: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_settings(environment)
    return [problem.path.removeprefix("FLOWMACHINE_OPERATOR_") for problem in caught.value.problems]


def test_only_the_image_is_needed() -> None:
    settings = parse_settings(NEEDED)
    assert settings.engine_image == "flowmachine:1"
    assert settings.namespaces == ()
    assert settings.webhook_cert_dir is None
    assert settings.engine_image_pull_policy is None
    assert problems_of({}) == ["ENGINE_IMAGE"]


def test_variables_are_parsed() -> None:
    settings = parse_settings(
        NEEDED
        | {
            "FLOWMACHINE_OPERATOR_NAMESPACES": "shop, billing,",
            "FLOWMACHINE_OPERATOR_ENGINE_LABELS": "team=shop,example.org/cost=7",
            "FLOWMACHINE_OPERATOR_WEBHOOK": "true",
            "FLOWMACHINE_OPERATOR_WEBHOOK_CERT_DIR": "/certs",
            "FLOWMACHINE_OPERATOR_ENGINE_IMAGE_PULL_POLICY": "Never",
            "FLOWMACHINE_OPERATOR_HTTP_PORT": "9000",
        }
    )
    assert settings.namespaces == ("shop", "billing")
    assert settings.engine_labels == {"team": "shop", "example.org/cost": "7"}
    assert settings.webhook is True
    assert settings.webhook_cert_dir == Path("/certs")
    assert settings.engine_image_pull_policy == "Never"
    assert settings.http_port == 9000


def test_all_problems_are_told_at_once() -> None:
    wrong = {"HTTP_PORT": "http", "WEBHOOK": "yes", "LOG_LEVEL": "loud", "ENGINE_LABELS": "a", "WORKERS": "0"}
    found = problems_of({f"FLOWMACHINE_OPERATOR_{name}": text for name, text in wrong.items()})
    assert sorted(found) == sorted(["ENGINE_IMAGE", *wrong])


def test_what_kubernetes_makes_for_a_service_is_no_setting() -> None:
    parse_settings(NEEDED | {"FLOWMACHINE_OPERATOR_SERVICE_HOST": "10.0.0.1"})


def test_help_names_every_variable_with_its_default() -> None:
    text = describe_settings()
    assert "FLOWMACHINE_OPERATOR_ENGINE_IMAGE " in text
    assert "(required)" in text
    assert "how long a silent operator keeps the Lease (12)" in text
