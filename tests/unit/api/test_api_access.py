"""Bearer tokens and CORS: off by default, and what they ask for when they are on."""

import pytest

from flowmachine.api.routes import ROUTES
from flowmachine.api.server import ApiSettings, BearerTokens
from tests.support.api_fakes import ApiSetup, running_api

PROTECTED = [operation for operation, _ in ROUTES if operation.is_protected]
OPEN_PATHS = ("/-/healthz", "/-/ready", "/-/check-up", "/-/metrics")
GOOD = {"Authorization": "Bearer new-token"}


def guarded() -> ApiSetup:
    return ApiSetup(tokens=BearerTokens(["new-token", "old-token"]))


def path_of(path: str) -> str:
    return path.replace("{sagaId}", "order-1").replace("{partition}", "0").replace("{offset}", "7")


@pytest.mark.parametrize("operation", PROTECTED, ids=lambda operation: operation.name)
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", "Basic new-token", "Bearer new-token1", "new-token"]
)
async def test_everything_but_probes_asks_for_a_token(operation, header: str | None) -> None:
    async with running_api(guarded()) as api:
        headers = {} if header is None else {"Authorization": header}
        response = await api.client.request(operation.method, path_of(operation.path), headers=headers)
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert (await response.json())["statusCode"] == 401


@pytest.mark.parametrize("token", ["new-token", "old-token"])
async def test_each_of_several_tokens_opens(token: str) -> None:
    async with running_api(guarded()) as api:
        response = await api.client.get("/machine-definition", headers={"Authorization": f"bearer {token}"})
        assert response.status == 200


async def test_tokens_may_change_while_the_server_runs() -> None:
    setup = guarded()
    async with running_api(setup) as api:
        setup.tokens.tokens = ("newest-token",)
        assert (await api.client.get("/configuration", headers=GOOD)).status == 401
        assert (await api.client.get("/configuration", headers={"Authorization": "Bearer newest-token"})).status == 200


async def test_probes_and_metrics_stay_open_and_unknown_paths_do_not() -> None:
    async with running_api(guarded()) as api:
        assert {(await api.client.get(path)).status for path in OPEN_PATHS} == {200}
        assert (await api.client.get("/nothing")).status == 401
        assert (await api.client.get("/nothing", headers=GOOD)).status == 404


async def test_without_tokens_the_api_is_open() -> None:
    async with running_api() as api:
        assert (await api.client.get("/machine-definition")).status == 200


# --- CORS -------------------------------------------------------------------------------------------------------------

PAGE = "https://console.example"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}


def shared(*origins: str) -> ApiSetup:
    return ApiSetup(tokens=BearerTokens(["new-token"]), settings=ApiSettings(cors_origins=origins))


async def test_by_default_no_page_of_another_origin_may_read_answers() -> None:
    async with running_api() as api:
        for response in (
            await api.client.options("/saga", headers=PREFLIGHT),
            await api.client.get("/machine-definition", headers={"Origin": PAGE}),
        ):
            assert not any(name.startswith("Access-Control") for name in response.headers)


async def test_preflight_of_a_listed_origin_needs_no_token() -> None:
    async with running_api(shared(PAGE)) as api:
        response = await api.client.options("/saga", headers=PREFLIGHT)
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]


async def test_listed_origin_may_read_answers_and_refusals() -> None:
    async with running_api(shared(PAGE)) as api:
        for headers, status in ((GOOD, 200), ({}, 401)):
            response = await api.client.get("/machine-definition", headers={"Origin": PAGE, **headers})
            assert response.status == status
            assert response.headers["Access-Control-Allow-Origin"] == PAGE
            assert response.headers["Vary"] == "Origin"


async def test_other_origins_may_not() -> None:
    async with running_api(shared(PAGE)) as api:
        response = await api.client.get("/machine-definition", headers={"Origin": "https://evil.example", **GOOD})
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_any_origin_may_with_a_star() -> None:
    async with running_api(shared("*")) as api:
        response = await api.client.get("/machine-definition", headers={"Origin": PAGE, **GOOD})
        assert response.headers["Access-Control-Allow-Origin"] == "*"
