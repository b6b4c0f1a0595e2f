"""Every way in which a FlowMachine can be wrong, and the sentence that says so."""

import pytest

from flowmachine.config.load import load_document
from flowmachine.config.problems import FAULTS_MAX
from tests.unit.config.good_document import GOOD, Change, changed, drop, problems_of, put


def test_the_good_document_is_good() -> None:
    assert load_document(GOOD, "x").metadata.name == "orders"


STATE = "spec.machine.states[0]"
KAFKA = "spec.channels[0].kafka"
SECRET = "must be a text, or say where the secret is: {secretKeyRef: {name, key}} or {file: path}"
INVALID = "is not valid in a JSON Schema (draft-07): "
EMPTY_HOOK = "holds no JavaScript"


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        # wrong types, one for every kind of field
        (put("spec.machine.states.0.id", 5), f"{STATE}.id", "must be a text, not a number"),
        (put("spec.machine.states.0.id", ["x"]), f"{STATE}.id", "must be a text, not a list"),
        (put("spec.machine.states.0.description", True), f"{STATE}.description", "must be a text, not true or false"),
        (put("spec.machine.states.0.isFinal", "yes"), f"{STATE}.isFinal", "must be true or false, not a text"),
        (put("spec.machine.states.0", "paying"), STATE, "must be a mapping of fields, not a text"),
        (put("spec.machine.states.0.sideEffects", {}), f"{STATE}.sideEffects", "must be a list, not a mapping"),
        (
            put("spec.machine.states.0.outputCommand", 1),
            f"{STATE}.outputCommand",
            "must be a mapping of fields, not a number",
        ),
        (
            put("spec.machine.businessEvents.0.id", 1.5),
            "spec.machine.businessEvents[0].id",
            "must be a whole number or a text",
        ),
        (
            put("spec.machine.businessEvents.0.id", ""),
            "spec.machine.businessEvents[0].id",
            "must have 1 to 63 characters",
        ),
        (
            put("spec.machine.states.0.outgoingTransitions.0.payloadValidationSchema", "x"),
            f"{STATE}.outgoingTransitions[0].payloadValidationSchema",
            "must be a mapping of fields, not a text",
        ),
        (put("spec.channels.1.rest.port", "80"), "spec.channels[1].rest.port", "must be a whole number, not a text"),
        (put("spec.channels.1.rest.port", 0), "spec.channels[1].rest.port", "must be at least 1"),
        (put("spec.channels.1.rest.port", 65536), "spec.channels[1].rest.port", "must be at most 65535"),
        (put("spec.channels.1.rest.host", ""), "spec.channels[1].rest.host", "must not be empty"),
        (
            put("spec.channels.1.rest.host", "http://x/"),
            "spec.channels[1].rest.host",
            "must be a host name or an address, without protocol and path",
        ),
        (
            put("spec.channels.1.rest.path", "x"),
            "spec.channels[1].rest.path",
            "must begin with '/' and hold no blanks and no '#'",
        ),
        (
            put("spec.channels.1.rest.headers", []),
            "spec.channels[1].rest.headers",
            "must be a mapping of fields, not a list",
        ),
        (
            put("spec.channels.1.rest.headers.A B", "x"),
            "spec.channels[1].rest.headers['A B']",
            "is not the name of a header",
        ),
        (
            put("spec.channels.1.rest.method", "post"),
            "spec.channels[1].rest.method",
            "'post' is not allowed here: must be one of 'POST', 'PUT', 'PATCH'; did you mean 'POST'?",
        ),
        (
            put("spec.channels.1.rest.method", 1),
            "spec.channels[1].rest.method",
            "must be one of 'POST', 'PUT', 'PATCH'",
        ),
        (
            put("kind", "FlowMachin"),
            "kind",
            "'FlowMachin' is not allowed here: must be 'FlowMachine'; did you mean 'FlowMachine'?",
        ),
        (
            put("metadata.name", "Orders"),
            "metadata.name",
            "must consist of lower-case letters, digits and '-', and begin and end with a letter or a digit",
        ),
        (put("spec.machine.states.0.id", "x" * 64), f"{STATE}.id", "has 64 characters; at most 63 are allowed"),
        (put("spec.machine.states.0.id", "a\nb"), f"{STATE}.id", "must not hold control characters"),
        (put("spec.channels", []), "spec.channels", "must not be empty"),
        (
            put("spec.settings", {"retention": {"finished": "1 hour"}}),
            "spec.settings.retention.finished",
            "must be a duration such as '30m', '1h' or '7d'",
        ),
        # secrets: one sentence, whatever is wrong, and never the value
        (put("spec.channels.0.kafka.sasl.password", ["hunter2"]), f"{KAFKA}.sasl.password", SECRET),
        (put("spec.channels.0.kafka.sasl.password", 5), f"{KAFKA}.sasl.password", SECRET),
        (put("spec.channels.0.kafka.sasl.password", {"vault": "hunter2"}), f"{KAFKA}.sasl.password", SECRET),
        (
            put("spec.channels.0.kafka.sasl.password", {"secretKeyRef": {"name": "n"}}),
            f"{KAFKA}.sasl.password.secretKeyRef.key",
            "is required",
        ),
        (
            put("spec.channels.0.kafka.sasl.password", {"file": "/x", "path": "/y"}),
            f"{KAFKA}.sasl.password.path",
            "'path' is not a field here",
        ),
        (
            put("spec.channels.0.kafka.brokers", 5),
            f"{KAFKA}.brokers",
            "must be a list of addresses 'host:port', one comma-separated text, or say where the secret is",
        ),
        (put("spec.channels.0.kafka.brokers", [5]), f"{KAFKA}.brokers[0]", "must be a text, not a number"),
        (put("spec.channels.0.kafka.brokers", ","), f"{KAFKA}.brokers", "must not be empty"),
        # missing and unknown fields
        (drop("spec.machine.states.0.isFinal"), f"{STATE}.isFinal", "is required"),
        (put("spec.machine.states.1.isFinal", None), "spec.machine.states[1].isFinal", "is required"),
        (drop("metadata"), "metadata", "is required"),
        (put("spec.machne", {}), "spec.machne", "'machne' is not a field here; did you mean 'machine'?"),
        (
            put("spec.machine.states.1.outgoingTransition", []),
            "spec.machine.states[1].outgoingTransition",
            "'outgoingTransition' is not a field here; did you mean 'outgoingTransitions'?",
        ),
        (
            put("spec.machine.states.1.businessstateid", 1),
            "spec.machine.states[1].businessstateid",
            "'businessstateid' is not a field here; did you mean 'businessStateId'?",
        ),
        (put("spec.channels.0.kafka.zzz", 1), f"{KAFKA}.zzz", "'zzz' is not a field here"),
        (put("extra", 1), "extra", "'extra' is not a field here"),
        # ids
        (
            put("spec.machine.states.1.id", "failed"),
            "spec.machine.states[2].id",
            "'failed' stands in another state above already; each may stand once",
        ),
        (
            put("spec.machine.businessStates.3", {"id": 2}),
            "spec.machine.businessStates[3].id",
            "2 stands in another business state above already; each may stand once",
        ),
        (
            put("spec.machine.businessEvents.1", {"id": "p"}),
            "spec.machine.businessEvents[1].id",
            "'p' stands in another business event above already; each may stand once",
        ),
        (
            put("spec.channels.1.id", "services"),
            "spec.channels[1].id",
            "'services' stands in another channel above already; each may stand once",
        ),
        (
            put("spec.machine.states.0.outgoingTransitions.1.inputEvent", "paymentExecuted"),
            f"{STATE}.outgoingTransitions[1].inputEvent",
            "'paymentExecuted' stands in another transition above already; each may stand once",
        ),
        # dangling references
        (
            put("spec.machine.initialState", "Paying"),
            "spec.machine.initialState",
            "'Paying' is not a state; did you mean 'paying'?",
        ),
        (
            put("spec.machine.states.0.outgoingTransitions.0.targetState", "payd"),
            f"{STATE}.outgoingTransitions[0].targetState",
            "'payd' is not a state; did you mean 'paid'?",
        ),
        (
            put("spec.machine.states.1.businessStateId", 7),
            "spec.machine.states[1].businessStateId",
            "7 is not a business state",
        ),
        (
            put("spec.machine.states.1.businessStateId", "2"),
            "spec.machine.states[1].businessStateId",
            "'2' is not a business state; did you mean the number 2?",
        ),
        (
            put("spec.machine.states.0.outgoingTransitions.0.businessEventId", "q"),
            f"{STATE}.outgoingTransitions[0].businessEventId",
            "'q' is not a business event",
        ),
        (
            drop("spec.machine.businessEvents"),
            f"{STATE}.outgoingTransitions[0].businessEventId",
            "'p' is not a business event",
        ),
        (
            put("spec.machine.states.0.outputCommand.channel", "service"),
            f"{STATE}.outputCommand.channel",
            "'service' is not a channel; did you mean 'services'?",
        ),
        (
            put("spec.machine.states.0.sideEffects.0.channel", "nope"),
            f"{STATE}.sideEffects[0].channel",
            "'nope' is not a channel",
        ),
        # channels
        (drop("spec.channels.1.rest"), "spec.channels[1]", "needs either 'kafka' or 'rest'"),
        (
            put("spec.channels.0.rest", {"host": "h"}),
            "spec.channels[0]",
            "has both 'kafka' and 'rest'; a channel is one of them",
        ),
        (
            drop("spec.channels.0.kafka.consumerGroup"),
            f"{KAFKA}.consumerGroup",
            "is required, because there are inputTopics",
        ),
        (
            put("spec.channels.2", {"id": "c", "kafka": {"brokers": ["b:2", "a:1"]}}),
            "spec.channels[2].kafka",
            "needs inputTopics, outputTopics, or both",
        ),
        (
            put("spec.channels.2", {"id": "c", "kafka": {"brokers": "a:1", "outputTopics": ["x"]}}),
            "spec.channels[2].kafka.brokers",
            "are not the brokers of the channel 'services'; all Kafka channels of a machine name the same ones, "
            "because one Kafka transaction spans one cluster",
        ),
        (
            drop("spec.channels.0.kafka.outputTopics"),
            f"{STATE}.outputCommand.channel",
            "the channel 'services' has no outputTopics, so it carries no commands",
        ),
        (drop("spec.channels.0.kafka.sasl.password"), f"{KAFKA}.sasl.password", "is required for this mechanism"),
        (
            put("spec.channels.0.kafka.sasl", {"mechanism": "oauthbearer", "clientId": "a", "clientSecret": "b"}),
            f"{KAFKA}.sasl.tokenEndpoint",
            "is required for this mechanism",
        ),
        (
            put("spec.settings", {"internalTopics": {"replicationFactor": 1, "minInSyncReplicas": 2}}),
            "spec.settings.internalTopics.minInSyncReplicas",
            "must not be larger than replicationFactor",
        ),
        # hooks
        (
            put("spec.machine.states.0.outputCommand.hook", {"content": "e30=!", "encoding": "base64"}),
            f"{STATE}.outputCommand.hook.content",
            "is not base64 of a text in UTF-8",
        ),
        (
            put("spec.machine.states.0.sideEffects.0.hook", {"content": "/w==", "encoding": "base64"}),
            f"{STATE}.sideEffects[0].hook.content",
            "is not base64 of a text in UTF-8",
        ),
        (
            put("spec.machine.states.0.outputCommand.payload", "{'total': saga.metadata.total"),
            f"{STATE}.outputCommand.payload",
            "is no CEL expression: line 1, column 30: Syntax error: mismatched input '<EOF>' expecting {'}', ','}",
        ),
        (
            put("spec.machine.states.0.outputCommand.payload", "{'total': order.total}"),
            f"{STATE}.outputCommand.payload",
            "names 'order'; the variables are 'saga' and 'messageLabel'",
        ),
        (
            put("spec.settings", {"deepMergeMetadata": {"hook": {"content": " "}}}),
            "spec.settings.deepMergeMetadata.hook.content",
            EMPTY_HOOK,
        ),
    ],
)
def test_one_mistake_is_one_problem(change: Change, path: str, message: str) -> None:
    problems = problems_of(changed(change))
    assert (path, message) in problems
    about_this = [other for other in problems if other[0].startswith(path)]
    assert about_this == [(path, message)]


@pytest.mark.parametrize(
    ("schema", "at", "message"),
    [
        (
            {"type": "strng"},
            ".type",
            f"{INVALID}a type is one of array, boolean, integer, null, number, object, string, or a list of them",
        ),
        ({"required": "a"}, ".required", f'{INVALID}the value is not of type "array"'),
        (
            {"properties": {"a": {"pattern": "("}}},
            ".properties.a.pattern",
            f'{INVALID}the value is not a "regex"',
        ),
        (
            {"$ref": "#/definitions/no"},
            "",
            f"{INVALID}Pointer '/definitions/no' does not exist",
        ),
        (
            {"items": {"$ref": "http://x.example/s"}},
            ".items.$ref",
            "refers to another document ('http://x.example/s'); none is read here",
        ),
        (
            {"$ref": "file:///etc/passwd"},
            ".$ref",
            "refers to another document ('file:///etc/passwd'); none is read here",
        ),
    ],
)
def test_payload_schemas_are_checked_without_a_look_at_other_documents(schema: object, at: str, message: str) -> None:
    path = "spec.machine.states.0.outgoingTransitions.0.payloadValidationSchema"
    expected = f"{STATE}.outgoingTransitions[0].payloadValidationSchema{at}"
    assert problems_of(changed(put(path, schema))) == [(expected, message)]


def test_all_problems_are_reported_at_once_and_in_order() -> None:
    document = changed(
        put("spec.machine.states.0.isFinal", 1),
        put("spec.machine.states.0.outgoingTransitions.1.targetState", "faild"),
        put("spec.machine.states.1.businessStateId", 9),
        put("spec.channels.0.kafka.sasl.mechanism", "plian"),
        drop("kind"),
    )
    assert [path for path, _ in problems_of(document)] == [
        "kind",
        "spec.channels[0].kafka.sasl.mechanism",
        "spec.machine.states[0].isFinal",
        "spec.machine.states[0].outgoingTransitions[1].targetState",
        "spec.machine.states[1].businessStateId",
    ]


def test_a_file_full_of_mistakes_reports_a_bounded_number() -> None:
    document = changed(lambda it: it["spec"].update({f"field{n}": n for n in range(5000)}))
    problems = problems_of(document)
    assert len(problems) == FAULTS_MAX + 1
    assert problems[-1] == ("orders.yaml", f"has more problems than these {FAULTS_MAX}")
