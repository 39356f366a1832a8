"""What one more wish makes of what was wanted: no model is touched."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from service.desired import (
    EARLIER_KEPT,
    Change,
    DefaultChange,
    Desired,
    LoadChange,
    Present,
    ReloadChange,
    RollbackChange,
    UnloadChange,
    Wanted,
)
from service.errors import ChangeRefused, UnknownModel


def there(*versions: int, **others: frozenset[int]) -> dict[str, Present]:
    """Versions of cats that are in the folders, and serve unless told otherwise."""
    found = frozenset(versions)
    return {"cats": Present(found=found, serving=others.get("serving", found))}


def after(*changes: Change, present: dict[str, Present]) -> Desired:
    desired = Desired()
    for change in changes:
        desired = desired.changed(change, present)
    return desired


def cats(desired: Desired) -> Wanted:
    return desired.of("cats")


def choose(version: int | None) -> DefaultChange:
    return DefaultChange(name="cats", version=version)


ROLLBACK = RollbackChange(name="cats")


def test_nothing_is_wanted_of_a_model_that_nobody_spoke_of() -> None:
    assert Desired().of("cats") == Wanted()
    assert not Desired().unloads("cats", 1)
    assert Desired().reloads("cats", 1) == 0


def test_every_change_is_counted_and_the_one_that_changes_nothing_is_not() -> None:
    present = there(1, 2)
    first = after(choose(1), present=present)
    assert first.generation == 1
    assert first.changed(choose(1), present) is first
    assert first.changed(LoadChange(name="cats"), present) is first
    assert first.changed(UnloadChange(name="cats"), present).generation == 2


@pytest.mark.parametrize("action", ["load", "unload", "reload", "default"])
def test_what_is_not_in_the_folders_cannot_be_changed(action: str) -> None:
    change: TypeAdapter[Change] = TypeAdapter(Change)
    wish = {"action": action, "name": "cat", "version": 1}
    with pytest.raises(UnknownModel, match="did you mean 'cats'") as refusal:
        Desired().changed(change.validate_python(wish), there(1))
    assert refusal.value.extra == {"models": ["cats"]}
    with pytest.raises(UnknownModel, match="no version 7 in the folders: it has 1, 2"):
        Desired().changed(
            change.validate_python(wish | {"name": "cats", "version": 7}), there(1, 2)
        )


# --- Unloading and loading. ---


def test_one_version_is_unloaded_and_the_others_are_not() -> None:
    desired = after(UnloadChange(name="cats", version=1), present=there(1, 2))
    assert [desired.unloads("cats", version) for version in (1, 2, 3)] == [True, False, False]
    again = desired.changed(UnloadChange(name="cats", version=1), there(1, 2))
    assert again is desired


def test_a_whole_model_is_unloaded_with_its_versions_to_come() -> None:
    desired = after(UnloadChange(name="cats"), present=there(1, 2))
    assert all(desired.unloads("cats", version) for version in (1, 2, 3))
    assert desired.changed(UnloadChange(name="cats", version=1), there(1, 2)) is desired


def test_one_version_is_loaded_of_a_whole_model_that_was_unloaded() -> None:
    gone = after(UnloadChange(name="cats"), present=there(1, 2, 3))
    one = gone.changed(LoadChange(name="cats", version=2), there(1, 2, 3))
    assert cats(one).unloaded == (1, 3)
    assert cats(gone.changed(LoadChange(name="cats"), there(1, 2, 3))).unloaded == ()


def test_the_chosen_default_is_not_unloaded_under_the_feet_of_requests() -> None:
    desired = after(choose(1), present=there(1, 2))
    with pytest.raises(ChangeRefused, match="cats/1 is the default version: make another"):
        desired.changed(UnloadChange(name="cats", version=1), there(1, 2))
    whole = desired.changed(UnloadChange(name="cats"), there(1, 2))
    back = whole.changed(LoadChange(name="cats"), there(1, 2))
    assert cats(back).default == 1


# --- Reloading. ---


def test_a_reload_counts_the_versions_that_it_is_about() -> None:
    present = there(1, 2)
    desired = after(
        ReloadChange(name="cats", version=2), ReloadChange(name="cats"), present=present
    )
    assert [desired.reloads("cats", version) for version in (1, 2)] == [1, 2]
    assert cats(desired.changed(ReloadChange(name="cats"), there(1))).reloads == {1: 2}


def test_what_is_unloaded_is_not_reloaded() -> None:
    desired = after(UnloadChange(name="cats", version=1), present=there(1, 2))
    with pytest.raises(ChangeRefused, match="cats/1 is unloaded: load it"):
        desired.changed(ReloadChange(name="cats", version=1), there(1, 2))
    assert cats(desired.changed(ReloadChange(name="cats"), there(1, 2))).reloads == {2: 1}
    nothing = desired.changed(UnloadChange(name="cats"), there(1, 2))
    with pytest.raises(ChangeRefused, match="cats is unloaded: load it"):
        nothing.changed(ReloadChange(name="cats"), there(1, 2))


# --- The default, and back. ---


def test_the_newest_answers_until_another_is_chosen() -> None:
    assert Wanted().answering([1, 3, 2]) == 3
    assert Wanted().answering([]) is None
    assert Wanted(default=2).answering([1, 3, 2]) == 2
    assert Wanted(default=2).answering([1, 3]) == 3


def test_a_default_must_serve() -> None:
    unloaded = after(UnloadChange(name="cats", version=1), present=there(1, 2))
    with pytest.raises(ChangeRefused, match="cats/1 is unloaded: load it, then"):
        unloaded.changed(choose(1), there(1, 2))
    broken = Present(found=frozenset({1, 2}), serving=frozenset({1}), failed={2: "it is torn"})
    with pytest.raises(ChangeRefused, match="cats/2 does not serve: it is torn"):
        Desired().changed(choose(2), {"cats": broken})


def test_a_rollback_goes_back_one_default_at_a_time() -> None:
    present = there(1, 2, 3)
    desired = after(choose(1), choose(2), choose(3), present=present)
    assert cats(desired) == Wanted(default=3, earlier=(3, 1, 2))  # the newest answered at first
    for version in (2, 1, 3):
        desired = desired.changed(ROLLBACK, present)
        assert cats(desired).default == version
    assert cats(desired).earlier == ()


def test_a_rollback_passes_over_what_does_not_serve_any_more() -> None:
    desired = after(choose(1), choose(2), choose(3), present=there(1, 2, 3))
    assert cats(desired.changed(ROLLBACK, there(1, 3))).default == 1
    unloaded = desired.changed(UnloadChange(name="cats", version=2), there(1, 2, 3))
    assert cats(unloaded.changed(ROLLBACK, there(1, 2, 3))).default == 1


def test_a_rollback_of_a_default_that_nobody_chose_goes_to_the_next_lower_version() -> None:
    desired = Desired()
    for version in (2, 1):
        desired = desired.changed(ROLLBACK, there(1, 2, 3))
        assert cats(desired).default == version
    with pytest.raises(ChangeRefused, match="nothing to go back to"):
        desired.changed(ROLLBACK, there(1, 2, 3))


def test_a_rollback_starts_from_what_answers_not_from_what_failed() -> None:
    present = there(1, 2, 3, serving=frozenset({1, 2}))
    assert cats(after(ROLLBACK, present=present)).default == 1


def test_a_default_can_be_the_newest_again() -> None:
    desired = after(choose(1), choose(None), present=there(1, 2))
    assert cats(desired).default is None
    assert cats(desired.changed(ROLLBACK, there(1, 2))).default == 1


def test_what_is_remembered_is_bounded() -> None:
    desired, present = Desired(), there(1, 2)
    for _ in range(EARLIER_KEPT):
        desired = desired.changed(choose(1), present).changed(choose(2), present)
    assert len(cats(desired).earlier) == EARLIER_KEPT


def test_json_and_back_is_the_same() -> None:
    desired = after(
        choose(1),
        choose(2),
        UnloadChange(name="cats", version=1),
        ReloadChange(name="cats", version=2),
        present=there(1, 2),
    )
    assert Desired.model_validate_json(desired.model_dump_json()) == desired
    whole = desired.changed(UnloadChange(name="cats"), there(1, 2))
    assert Desired.model_validate_json(whole.model_dump_json()) == whole
