"""The picture of the house and the sentences about its rooms are current."""

from __future__ import annotations

import re
import runpy

from support import DOCS
from support.pages import text_of

HOUSE = runpy.run_path(str(DOCS / "house.py"))


def test_the_picture_is_current() -> None:
    assert text_of("docs/images/house.svg") == HOUSE["svg"](), "run `python docs/house.py`"


def test_every_room_imports_only_from_rooms_below_it() -> None:
    for room in HOUSE["rooms"]():
        assert all(HOUSE["layer"](other) < HOUSE["layer"](room) for other in HOUSE["below"](room)), room


def test_every_room_has_one_sentence() -> None:
    named = re.findall(r"^\| `([\w.]+?)/?` \|", text_of("CONTRIBUTING.md"), re.M)
    assert sorted(name.removesuffix(".py") for name in named) == sorted(["plugins", *HOUSE["rooms"]()])
