"""Plans and rows: every input is filled by its role, and what cannot be filled says why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from export.draw import SEED_LIMIT, draw, slerp
from export.manifest import (
    FixedSize,
    FreeSize,
    Graph,
    Image,
    ImageOutput,
    Index,
    Input,
    Label,
    Latent,
    Noise,
    Scalar,
    Text,
    Vector,
)
from service.errors import InvalidInput
from service.images import Picture
from service.inputs import Plan, bind
from service.planning import image_input, plan
from service.rows import Rows
from service.schemas import GenerateRequest, TranslateRequest

SIZE = FixedSize(height=8, width=6)
Z = Latent(name="z", shape=(4,))
NOISE = Noise(name="noise", shape=("height//2", "width"))
LABEL = Label(name="label", classes=("Circle", "square", "7", "star"))
TRUNCATION = Scalar(name="truncation", low=0, high=1, default=0.5)
STRENGTH = Scalar(name="strength", low=-1, high=2, default=0)
LAYERS = Index(name="layers", shape=(3,), high=9, default=2)
STYLE = Vector(name="style", shape=(5,))


def graph(*inputs: Input) -> Graph:
    return Graph(inputs=inputs, outputs=(ImageOutput(name="image", channels=1),), onnx="g.onnx")


def fit(inputs: tuple[Input, ...], **request: object) -> Plan:
    asked = GenerateRequest.model_validate(request)
    return plan(graph(*inputs), SIZE, asked, limit=64)


def rows(*inputs: Input, **request: object) -> Rows:
    return bind(fit(inputs, **request))


def refusal(inputs: tuple[Input, ...], **request: object) -> dict[str, dict[str, Any]]:
    with pytest.raises(InvalidInput) as caught:
        fit(inputs, **request)
    return {error["field"]: error for error in caught.value.extra["errors"]}


# --- Rows, by role. ---


def test_latents_and_noise_are_drawn_for_each_images_seed() -> None:
    bound = rows(Z, NOISE, seed=5, num_images=3)
    for k in range(3):
        assert np.array_equal(bound["z"][k], draw(Z, [5 + k], 8, 6)[0])
        assert np.array_equal(bound["noise"][k], draw(NOISE, [5 + k], 8, 6)[0])
    assert bound["noise"].shape == (3, 4, 6)


def test_seeds_wrap_at_two_to_the_53() -> None:
    fitted = fit((Z,), seed=SEED_LIMIT - 1, num_images=2)
    assert fitted.told_seeds == (SEED_LIMIT - 1, 0)


def test_a_seed_that_is_not_given_is_drawn() -> None:
    first, second = fit((Z,)), fit((Z,))
    assert first.seed_was_drawn
    assert not fit((Z,), seed=0).seed_was_drawn
    assert 0 <= first.seeds[0] < SEED_LIMIT
    assert first.seeds != second.seeds


@pytest.mark.parametrize(
    ("asked", "index"),
    [("square", 1), ("Circle", 0), ("circle", 0), ("SQUARE", 1), (3, 3), ("3", 3), ("7", 2)],
)
def test_a_label_is_a_name_in_any_case_or_an_index(asked: int | str, index: int) -> None:
    bound = rows(Z, LABEL, seed=0, label=asked, num_images=2)
    assert bound["label"].tolist() == [index, index]
    assert bound["label"].dtype == np.int64


def test_labels_may_be_given_one_for_each_image() -> None:
    fitted = fit((Z, LABEL), seed=0, label=["star", 0, "star"])
    assert fitted.labels == (3, 0, 3)
    assert fitted.label_names == ("star", "Circle", "star")


def test_a_label_that_is_not_given_is_drawn_from_the_images_own_seed() -> None:
    many = fit((Z, LABEL), seed=100, num_images=64)
    assert many.labels is not None
    assert set(many.labels) == {0, 1, 2, 3}
    for k in (0, 17, 63):
        assert fit((Z, LABEL), seed=100 + k).labels == (many.labels[k],)


def test_scalars_are_given_by_name_or_have_their_default() -> None:
    bound = rows(Z, TRUNCATION, STRENGTH, seed=0, num_images=2, strength=1.5)
    assert bound["truncation"].tolist() == [0.5, 0.5]
    assert bound["strength"].tolist() == [1.5, 1.5]
    assert bound["strength"].dtype == np.float32
    assert rows(Z, TRUNCATION, truncation=1)["truncation"].tolist() == [1.0]


def test_indices_and_vectors_have_their_defaults() -> None:
    bound = rows(Z, LAYERS, STYLE, seed=0, num_images=2)
    assert bound["layers"].tolist() == [[2, 2, 2]] * 2
    assert bound["layers"].dtype == np.int64
    assert bound["style"].shape == (2, 5)
    assert not bound["style"].any()


def test_explicit_latents_replace_drawn_ones() -> None:
    given = [[0, 1, 2, 3], [0.5, -1e-3, 1e30, 4]]
    bound = rows(Z, NOISE, seed=9, latents=given)
    assert np.array_equal(bound["z"], np.array(given, np.float32))
    assert np.array_equal(bound["noise"], draw(NOISE, [9, 10], 8, 6))
    assert fit((Z,), seed=9, latents=given).told_seeds == (None, None)


def test_interpolation_is_a_slerp_of_latents_with_the_rest_of_the_first_seed() -> None:
    between = {"from": 3, "to": 8, "steps": 5}
    bound = rows(Z, NOISE, LABEL, interpolate=between, label="star")
    start, end = draw(Z, [3, 8], 8, 6)
    assert np.array_equal(bound["z"], slerp(start, end, 5))
    assert np.array_equal(bound["z"][0], start)
    assert np.array_equal(bound["z"][-1], end)
    assert all(np.array_equal(noise, draw(NOISE, [3], 8, 6)[0]) for noise in bound["noise"])
    assert fit((Z,), interpolate=between).told_seeds == (None,) * 5


def test_a_free_size_answers_with_the_first_that_it_warms() -> None:
    free = FreeSize(min_side=8, max_side=64, max_pixels=4096, warm=((16, 12), (32, 32)))
    fitted = plan(graph(NOISE), free, GenerateRequest(seed=1), limit=4)
    assert bind(fitted)["noise"].shape == (1, 8, 12)


def test_drawn_elements_counts_what_bind_draws() -> None:
    assert fit((Z, NOISE, LABEL), num_images=3).drawn_elements == 3 * (4 + 4 * 6)


# --- Rows of pictures. ---

SOURCE = Image(name="source", channels=3)
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)


def fit_picture(*inputs: Input, digest: str = "a", **request: object) -> Plan:
    asked = TranslateRequest.model_validate(request)
    return plan(graph(*inputs), SIZE, asked, limit=64, picture=Picture(PIXELS, digest))


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 1), (0, 255), (-2.5, 7)])
def test_pictures_are_scaled_to_the_range_of_their_input(low: float, high: float) -> None:
    entry = SOURCE.model_copy(update={"low": low, "high": high})
    bound = bind(fit_picture(entry, NOISE, seed=3, num_images=2))
    expected = PIXELS.transpose(2, 0, 1) / 255 * (high - low) + low
    assert bound["source"].dtype == np.float32
    assert bound["source"].shape == (2, 3, 8, 6)
    assert np.allclose(bound["source"], expected, atol=1e-5)
    assert bound["source"].min() >= low
    assert bound["source"].max() <= high
    assert np.array_equal(bound["noise"], draw(NOISE, [3, 4], 8, 6))


def test_black_and_white_are_exactly_the_ends_of_the_range() -> None:
    ends = PIXELS.copy()
    ends[:4], ends[4:] = 0, 255
    entry = SOURCE.model_copy(update={"low": -0.3, "high": 0.7})
    fitted = plan(graph(entry), SIZE, TranslateRequest(), limit=1, picture=Picture(ends, "a"))
    assert set(bind(fitted)["source"].ravel()) == {np.float32(-0.3), np.float32(0.7)}


def test_a_key_changes_with_the_picture_and_how_it_is_fitted() -> None:
    sent: dict[str, Any] = {"limit": 1, "picture": Picture(PIXELS, "a")}
    keys = [
        fit_picture(SOURCE, **wish).key()
        for wish in ({}, {"fit": "crop"}, {"digest": "b"}, {"fit": "pad"}, {"fit": "stretch"})
    ]
    assert len(set(keys)) == 2  # a picture of the model's own size is the same in every fit
    square = plan(graph(SOURCE), FixedSize(height=6, width=6), TranslateRequest(), **sent)
    padded = plan(graph(SOURCE), FixedSize(height=6, width=6), TranslateRequest(fit="pad"), **sent)
    assert len({*keys, square.key(), padded.key()}) == 4


def test_a_seed_matters_only_where_something_is_drawn() -> None:
    still = fit_picture(SOURCE, STRENGTH)
    assert (still.seeds, still.seed_was_drawn) == ((0,), False)
    assert fit_picture(SOURCE, STRENGTH, seed=7).seeds == (7,)
    assert fit_picture(SOURCE, NOISE).seed_was_drawn
    assert fit_picture(SOURCE, LABEL).seed_was_drawn
    assert not fit_picture(SOURCE, LABEL, label="star").seed_was_drawn


def test_one_picture_needs_one_image_input() -> None:
    other = Image(name="style", channels=1)
    assert image_input(graph(Z, SOURCE)) == SOURCE
    with pytest.raises(InvalidInput, match=r"starts from 2 .*source, style"):
        image_input(graph(SOURCE, other))
    with pytest.raises(InvalidInput, match=r"starts from 0 .*none"):
        image_input(graph(Z))


def test_the_bytes_of_rows_are_known_before_they_are_made() -> None:
    for fitted in (
        fit((Z, NOISE, LABEL, STRENGTH, LAYERS, STYLE), num_images=3),
        fit_picture(SOURCE, NOISE, LABEL, STRENGTH, num_images=2),
    ):
        rows, expected = bind(fitted), fitted.expected
        assert len(expected) == len(rows)
        assert (expected.row_elements, expected.nbytes) == (rows.row_elements, rows.nbytes)


# --- Keys: equal exactly when the pictures are. ---


def test_a_key_says_the_same_of_the_same_pictures() -> None:
    spelled = fit((Z, LABEL, TRUNCATION), seed=1, label="star", truncation=0.5, num_images=1)
    assert spelled.key() == fit((Z, LABEL, TRUNCATION), seed=1, label=3).key()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"num_images": 2},
        {"label": "square"},
        {"truncation": 0.25},
        {"latents": [[1, 2, 3, 4]]},
        {"seed": None, "interpolate": {"from": 1, "to": 2, "steps": 2}},
        {"seed": None, "interpolate": {"from": 1, "to": 3, "steps": 2}},
    ],
)
def test_a_key_changes_with_the_pictures(change: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"seed": 1, "label": "star"}
    keys = {fit((Z, LABEL, TRUNCATION), **wish).key() for wish in (asked, asked | change)}
    assert len(keys) == 2


def test_keys_of_different_latents_differ() -> None:
    first, second = ([[1, 2, 3, 4]], [[1, 2, 3, 5]])
    assert fit((Z,), seed=1, latents=first).key() != fit((Z,), seed=1, latents=second).key()


# --- Refusals. ---


def test_an_unknown_label_names_the_nearest_and_the_choices() -> None:
    error = refusal((Z, LABEL), label="sqare")["label"]
    assert error["nearest"] == "square"
    assert "did you mean 'square'?" in error["detail"]
    assert error["choices"] == ["Circle", "square", "7", "star"]


def test_a_label_list_names_the_place() -> None:
    assert set(refusal((Z, LABEL), label=["star", "sqare", 9])) == {"label[1]", "label[2]"}


@pytest.mark.parametrize("index", [4, 10**30, "44"])
def test_an_index_past_the_classes_is_refused(index: int | str) -> None:
    assert "0 to 3" in refusal((Z, LABEL), label=index)["label"]["detail"]


def test_a_label_for_a_model_without_classes_is_refused() -> None:
    assert "no classes" in refusal((Z,), label="star")["label"]["detail"]


def test_a_list_of_labels_must_have_one_for_each_image() -> None:
    error = refusal((Z, LABEL), label=["star", "star"], num_images=3)["label"]
    assert "for 2 images, and num_images for 3" in error["detail"]


def test_more_images_than_the_limit_tell_the_limit() -> None:
    for wish in (
        {"num_images": 65},
        {"label": ["star"] * 65},
        {"latents": [[0, 0, 0, 0]] * 65},
        {"interpolate": {"from": 0, "to": 1, "steps": 10**12}},
    ):
        (error,) = refusal((Z, LABEL), **wish).values()
        assert "at most 64" in error["detail"]
        assert error["limit"] == 64


@pytest.mark.parametrize("value", [1.01, -0.1, "0.5", True, None, [0.5], {}, float("nan"), 10**400])
def test_a_scalar_outside_its_range_is_refused(value: object) -> None:
    assert "[-1, 2]" in refusal((Z, STRENGTH), strength=2.5)["strength"]["detail"]
    assert (
        "[0, 1]" in refusal((Z, Scalar(name="n", low=0, high=1, default=0)), n=value)["n"]["detail"]
    )


def test_truncation_of_a_model_that_has_none_is_refused() -> None:
    error = refusal((Z, STRENGTH), truncation=0.5)["truncation"]
    assert "has none" in error["detail"]
    assert "strength" in error["detail"]


def test_an_unknown_field_names_the_nearest() -> None:
    errors = refusal((Z, STRENGTH), sede=4, strenght=1)
    assert errors["sede"]["nearest"] == "seed"
    assert errors["strenght"]["nearest"] == "strength"
    assert "num_images" in errors["sede"]["choices"]


@pytest.mark.parametrize(
    "latents",
    [
        [[1, 2, 3]],
        [[1, 2, 3, 4], [1, 2, 3]],
        [1, 2, 3, 4],
        [[1, 2, 3, "4"]],
        [[1, 2, 3, True]],
        [[1, 2, 3, None]],
        [[1, 2, 3, float("nan")]],
        [[1, 2, 3, float("inf")]],
        [[1, 2, 3, 1e39]],
        [[1, 2, 3, 10**400]],
        [[[1], [2], [3], [4]]],
        [[]],
        [{}],
    ],
)
def test_wrong_latents_tell_the_right_shape(latents: list[Any]) -> None:
    error = refusal((Z,), latents=latents)["latents"]
    assert error["shape"] == [len(latents), 4]
    assert "finite" in error["detail"]


def test_latents_need_exactly_one_latent_input() -> None:
    other = Latent(name="other", shape=(4,))
    assert "z, other" in refusal((Z, other), latents=[[0] * 4])["latents"]["detail"]
    assert "none" in refusal((NOISE,), latents=[[0] * 4])["latents"]["detail"]


def test_interpolation_excludes_what_it_replaces() -> None:
    between = {"from": 1, "to": 2, "steps": 3}
    assert set(refusal((Z,), interpolate=between, seed=1)) == {"seed"}
    assert set(refusal((Z,), interpolate=between, latents=[[0] * 4] * 3)) == {"latents"}
    assert set(refusal((Z,), interpolate=between, num_images=4)) == {"interpolate.steps"}
    assert set(refusal((NOISE,), interpolate=between)) == {"interpolate"}


@pytest.mark.parametrize(
    ("entry", "role"),
    [
        (Image(name="source", channels=3), "image"),
        (Text(name="prompt", tokenizer="t.json", length=8), "text"),
    ],
)
def test_inputs_that_a_request_cannot_fill_are_named(entry: Input, role: str) -> None:
    with pytest.raises(InvalidInput, match=rf"{role} \(its input '{entry.name}'\)"):
        fit((Z, entry))


def test_every_wrong_field_is_told_at_once() -> None:
    errors = refusal((Z, LABEL), label="x", truncation=1, num_images=65, sead=1)
    assert set(errors) == {"label", "truncation", "num_images", "sead"}
