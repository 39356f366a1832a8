"""What clients of the soak ask for: a seeded mix of everything that the service answers."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlencode

from bench.soak_bodies import BOUNDARY, as_form, refusals, sources
from bench.soak_graphs import CLASSES
from bench.soak_models import PICTURES, READER, STARTER, VERSIONS
from bench.soak_reference import Asked, Reference
from export.manifest import Task
from service.negotiation import Form, negotiate, negotiate_numbers
from service.schemas import ImageFormat

FIRST_SEED, SEEDS = 1000, 48  # asked for again and again, so that the cache is used
COUNTS = (1, 1, 1, 1, 2, 3, 5, 16)
LABELS = ("sneaker", "bag", "coat", None)
ACCEPTS = ("application/json", "application/zip", "multipart/mixed", "image/*", "application/x-npy")
FORMATS: tuple[ImageFormat | None, ...] = (None, "png", "jpeg", "webp")
TEXTS = ("red heart", "a black cat", "Blue moon", "a star of paper")
SHOWN_IN = (None, *CLASSES)

Kind = Literal["pictures", "numbers", "tensors", "empty", "any"]


@dataclass(frozen=True, eq=False)
class Wish:
    """A request, and what its answer must be.

    Attributes:
        kind: of request, for people.
        asked: what the answer must show; nothing but the status counts without.
        version: that is pinned.
        statuses: that the answer may have.
        reply: how the answer shows it.
        pieces: in which the body is sent, with pauses between them.
    """

    kind: str
    path: str
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    asked: Asked | None = None
    version: int | None = None
    seed: int | None = None
    statuses: frozenset[int] = frozenset({200})
    reply: Kind = "any"
    pieces: int = 1

    @property
    def may_break_off(self) -> bool:
        """Whether its deadline may pass when half of its reply was sent."""
        streamed = self.asked is not None and self.asked.form.container == "multipart"
        return streamed and 504 in self.statuses

    @property
    def images(self) -> int:
        """How many pictures a good answer has, as the service counts them."""
        if self.asked is None or self.reply in ("empty", "numbers"):
            return 0
        return int(self.asked.fields.get("num_images", 1))


class Mix:
    """Draws wishes.

    Args:
        chance: decides everything.
        reference: knows the tags of replies.
    """

    def __init__(self, chance: random.Random, reference: Reference) -> None:
        self._chance, self._reference = chance, reference
        self._sources = sources()
        self._kinds: dict[Callable[[], Wish], int] = {
            self._generate: 30,
            self._say: 8,
            self._translate: 14,
            self.restyle: 6,
            self._plain_url: 12,
            self._tensors: 10,
            self._numbers: 8,
            self._hurried: 6,
            self._slow: 3,
            self._refused: 12,
            self._page: 2,
        }

    def draw(self) -> Wish:
        """The next one."""
        [kind] = self._chance.choices(list(self._kinds), list(self._kinds.values()))
        return kind()

    def warm(self) -> list[Asked]:
        """What is computed before the first request: the starter's pictures with common seeds."""
        fields = [{"num_images": SEEDS} | ({"label": label} if label else {}) for label in LABELS]
        return [Asked(STARTER, "generate", each) for each in fields]

    def _seed(self) -> int | None:
        common = FIRST_SEED + self._chance.randrange(SEEDS)
        fresh = self._chance.randrange(2**53)
        return self._chance.choices((common, fresh, None), (7, 1, 2))[0]

    def _version(self) -> int | None:
        return self._chance.choice((None, *VERSIONS))

    def _fields(self, count: int | None = None) -> dict[str, Any]:
        """What a request for pictures of the starter says, but for its seed."""
        fields: dict[str, Any] = {"num_images": count or self._chance.choice(COUNTS)}
        if label := self._chance.choice(LABELS):
            fields["label"] = label
        if self._chance.random() < 0.2:
            fields["truncation"] = 0.5
        return fields

    def _generate(self) -> Wish:
        named = self._chance.random() < 0.9  # the starter is the default
        return self._posted("generate", STARTER, self._fields(), named=named)

    def _say(self) -> Wish:
        fields = {"num_images": self._chance.choice(COUNTS), "text": self._chance.choice(TEXTS)}
        return self._posted("text", READER, fields)

    def _posted(self, kind: str, model: str, fields: dict[str, Any], *, named: bool = True) -> Wish:
        """A request for pictures that start from nothing."""
        accept, form = self._form(fields)
        said: dict[str, Any] = {"model": model} if named else {}
        headers = {"Accept": accept, "Content-Type": "application/json"}
        if self._chance.random() < 0.15:
            fields["priority"] = "bulk"
        if self._chance.random() < 0.1:
            headers["X-Request-Timeout"] = "20"
        seed = self._seed()
        body = json.dumps({**said, **fields, **_seeded(seed)}).encode()
        asked = Asked(model, "generate", fields, form)
        return Wish(kind, "/generate", headers=headers, body=body, asked=asked, seed=seed,
                    reply="pictures")  # fmt: skip

    def _form(self, fields: dict[str, Any]) -> tuple[str, Form]:
        """An Accept header and a ``format`` that go together."""
        accept, image = self._chance.choice(ACCEPTS), self._chance.choice(FORMATS)
        if accept == "application/x-npy":
            image = None
        if image is not None:
            fields["format"] = image
        if image in ("jpeg", "webp") and self._chance.random() < 0.5:
            fields["quality"] = self._chance.choice((60, 80))
        return accept, negotiate(accept, image)

    def _hurried(self) -> Wish:
        """A deadline that may be too short."""
        wish = self._chance.choice((self._generate, self._generate, self.restyle))()
        timeout_s = self._chance.choice((0.0005, 0.005, 0.03))
        return replace(
            wish,
            kind="short deadline",
            headers={**wish.headers, "X-Request-Timeout": str(timeout_s)},
            statuses=frozenset({200, 429, 504}),
        )

    def _slow(self) -> Wish:
        """A body that comes in pieces."""
        wish = self._chance.choice((self._generate, self._translate))()
        return replace(wish, kind="slow body", pieces=5)

    def _plain_url(self) -> Wish:
        """``GET /generate/{model}.{format}``, with a tag or not, whole or its head alone."""
        fields = self._fields(self._chance.choice((1, 1, 4)))
        extension: ImageFormat = self._chance.choice(("png", "jpeg", "webp"))
        asked = Asked(STARTER, "generate", fields, Form("image", extension))
        seed = self._seed()
        query = urlencode({**fields, **_seeded(seed)})
        wish = Wish("plain URL", f"/generate/{STARTER}.{extension}?{query}", "GET", asked=asked,
                    seed=seed, reply="pictures")  # fmt: skip
        turn = self._chance.random()
        if turn < 0.2:
            return replace(wish, kind="head", method="HEAD", reply="empty")
        if turn < 0.5 and seed is not None:
            tag = self._reference.answer(asked, 1, seed).etag
            return replace(wish, kind="known tag", headers={"If-None-Match": tag},
                           statuses=frozenset({304}), reply="empty")  # fmt: skip
        return wish

    def _translate(self) -> Wish:
        return self._translated(None)

    def restyle(self) -> Wish:
        """A translation in the style of another picture."""
        return replace(self._translated(self._chance.choice(self._sources)), kind="reference")

    def _translated(self, reference: bytes | None) -> Wish:
        fields: dict[str, Any] = {"num_images": self._chance.choice((1, 1, 2, 4))}
        if label := self._chance.choice(SHOWN_IN):
            fields["label"] = label
        if self._chance.random() < 0.6:
            fields["strength"] = self._chance.choice((0.0, 0.25, 1.0))
        if self._chance.random() < 0.2:
            fields["priority"] = "bulk"
        accept, form = self._form(fields)
        seed = self._seed()
        return self._upload("translate", fields, seed, form, {"Accept": accept}, reference)

    def _numbers(self) -> Wish:
        task: Task = self._chance.choice(("encode", "score"))
        array = task == "encode" and self._chance.random() < 0.5
        accept = "application/x-npy" if array else "application/json"
        form = negotiate_numbers(accept, array=task == "encode")
        return self._upload(task, {}, FIRST_SEED, form, {"Accept": accept})

    def _upload(
        self,
        task: Task,
        fields: dict[str, Any],
        seed: int | None,
        form: Form,
        headers: dict[str, str],
        reference: bytes | None = None,
    ) -> Wish:
        """A picture, sent in one of the three ways; two of them have room for a second one."""
        version, source = self._version(), self._chance.choice(self._sources)
        files = {"image": source} | ({} if reference is None else {"reference": reference})
        pinned = {} if version is None else {"version": version}
        said = {"model": PICTURES, **fields, **_seeded(seed), **pinned}
        path, ways = f"/{task}", ("json", "form", "itself")
        way = self._chance.choice(ways if reference is None else ways[:2])
        if way == "json":
            headers["Content-Type"] = "application/json"
            texts = {name: b64encode(file).decode() for name, file in files.items()}
            body = json.dumps(said | texts).encode()
        elif way == "form":
            headers["Content-Type"] = f"multipart/form-data; boundary={BOUNDARY}"
            body = as_form(said, files)
        else:
            headers["Content-Type"] = "image/png"  # what it is, is read from its content
            path, body = f"{path}?{urlencode(said)}", source
        asked = Asked(PICTURES, task, fields, form, source, reference)
        reply: Kind = "pictures" if task == "translate" else "numbers"
        return Wish(task, path, headers=headers, body=body, asked=asked, version=version,
                    seed=seed, reply=reply)  # fmt: skip

    def _tensors(self) -> Wish:
        """V2, with the outputs in JSON or behind it."""
        fields, seed = self._fields(self._chance.choice((1, 2, 4))), self._seed()
        binary = {"binary_data_output": self._chance.random() < 0.5}
        body = json.dumps({"parameters": {**fields, **_seeded(seed), **binary}, "inputs": []})
        pinned = self._chance.choice(("", "/versions/1"))
        return Wish(
            "V2 infer",
            f"/v2/models/{STARTER}{pinned}/infer",
            headers={"Content-Type": "application/json"},
            body=body.encode(),
            asked=Asked(STARTER, "generate", fields),
            seed=seed,
            reply="tensors",
        )

    def _refused(self) -> Wish:
        """Something that must be refused, and how."""
        path, headers, body, statuses = self._chance.choice(refusals(self._sources[0]))
        kind = {"Content-Type": "application/json"} | headers
        return Wish("malformed", path, headers=kind, body=body, statuses=statuses)

    def _page(self) -> Wish:
        path = self._chance.choice(("/models", f"/models/{STARTER}", "/openapi.json", "/v2"))
        return Wish("page", path, "GET")


def _seeded(seed: int | None) -> dict[str, int]:
    return {} if seed is None else {"seed": seed}
