from __future__ import annotations

from pathlib import Path

import pytest

from nas import shipped
from nas.errors import SpaceError
from nas.shipped import ABLATIONS, SPACES

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_checkout_has_them_beside_the_package() -> None:
    assert SPACES.find("lavit_split") == ROOT / "search_spaces" / "lavit_split.yaml"
    assert ABLATIONS.find("lavit_parts") == ROOT / "ablations" / "lavit_parts.yaml"


def test_a_wheel_has_them_inside_of_it(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = desk / "site" / "nas" / "search_spaces" / "one.yaml"
    inside.parent.mkdir(parents=True)
    inside.touch()
    (desk / "site" / "search_spaces").mkdir()  # another package's
    (desk / "site" / "search_spaces" / "two.yaml").touch()
    monkeypatch.setattr(shipped, "PACKAGE", desk / "site" / "nas")
    assert SPACES.files == {"one": inside}


def test_the_users_own_come_first(desk: Path) -> None:
    (desk / "search_spaces").mkdir()
    for name in ("mixed", "mine"):
        (desk / "search_spaces" / f"{name}.yaml").touch()
    assert SPACES.find("mixed") == Path("search_spaces/mixed.yaml")
    assert list(SPACES.files) == ["castling", "lavit_split", "mine", "mixed"]


def test_a_path_is_a_path() -> None:
    assert SPACES.find("../mixed.yaml") == Path("../mixed.yaml")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    message = r"no ablation called 'lavit_part' in ablations/; allowed: .* \(did you mean lavit_parts\?\)"
    with pytest.raises(SpaceError, match=message):
        ABLATIONS.find("lavit_part")
