"""The client of OpenAI, unmodified, works against the service."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import openai
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.config import ServiceConfig
from service.keys import KeyScope, create_key
from service.limits import Limit
from tests.service.pictures import decode

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def speaking(app: FastAPI, key: str = "unused") -> AsyncIterator[openai.AsyncOpenAI]:
    """The client with the service behind it; the transport is all that is ours."""
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as http,
        openai.AsyncOpenAI(
            base_url="http://localhost/v1", api_key=key, http_client=http, max_retries=0
        ) as client,
    ):
        await app.state.starting
        yield client


async def test_it_generates_and_lists(config: ServiceConfig) -> None:
    async with speaking(create_app(config)) as client:
        made = await client.images.generate(
            model="colour",
            prompt="ankle boot",
            n=2,
            size="auto",
            output_format="webp",
            extra_body={"seed": 7},
        )
        assert made.data is not None
        assert [each.revised_prompt for each in made.data] == ["Ankle boot", "Ankle boot"]
        assert made.output_format == "webp"
        assert decode(b64decode(made.data[0].b64_json or "")).shape == (8, 8, 3)
        assert [each.id async for each in client.models.list()] == ["colour", "tiny"]
        assert (await client.models.retrieve("tiny")).owned_by == "ganymede"


async def test_it_understands_refusals(config: ServiceConfig) -> None:
    async with speaking(create_app(config)) as client:
        with pytest.raises(openai.BadRequestError, match="did you mean 'square'") as refused:
            await client.images.generate(prompt="squre")
        assert (refused.value.param, refused.value.code) == ("prompt", "invalid_value")
        assert refused.value.request_id
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.images.generate(prompt="star", model="dall-e-3")
        assert unknown.value.code == "model_not_found"


async def test_its_key_is_ours(config: ServiceConfig, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    use = create_key(path, "use", (KeyScope.USE,), Limit(per_minute=1, burst=1), None)
    admin = create_key(path, "admin", (KeyScope.ADMIN,), None, None)
    guarded = config.model_copy(update={"keys_file": path})
    async with speaking(create_app(guarded), use) as client:
        assert await client.images.generate(prompt="star")
        with pytest.raises(openai.RateLimitError) as limited:
            await client.images.generate(prompt="star")
        assert limited.value.code == "rate_limit_exceeded"
    async with speaking(create_app(guarded), admin) as client:
        with pytest.raises(openai.PermissionDeniedError):
            await client.images.generate(prompt="star")
    async with speaking(create_app(guarded), "wrong") as client:
        with pytest.raises(openai.AuthenticationError) as wrong:
            await client.models.list()
        assert wrong.value.code == "invalid_api_key"
