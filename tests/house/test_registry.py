"""Names lead to modules; wrong names say what exists; real import errors stay themselves."""

import sys

import pytest

from mmjax import registry
from mmjax.config import ConfigError


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A package `some_room` with two good modules, one broken and one hidden."""
    folder = tmp_path / "some_room"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "clip.py").write_text("class Model:\n    width = 3\n")
    (folder / "coca.py").write_text("")
    (folder / "broken.py").write_text("import no_such_module_anywhere")
    (folder / "_hidden.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield "some_room"
    for name in [name for name in sys.modules if name.split(".")[0] == "some_room"]:
        del sys.modules[name]


def test_a_name_is_a_module_of_the_room(room):
    assert registry.find(room, "clip").__name__ == "some_room.clip"
    assert registry.names(room) == ("broken", "clip", "coca")


def test_a_dotted_name_is_a_full_path(room):
    assert registry.find("mmjax", "some_room.clip").__name__ == "some_room.clip"
    assert registry.find("mmjax", "some_room.clip.Model").width == 3
    assert registry.find("mmjax", "some_room.clip.Model.width") == 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("clp", "model.name: there is no 'clp' in some_room. Did you mean 'clip'?"),
        ("nothing", "some_room has: broken, clip, coca."),
        ("", "'' is not a name"),
        ("some_room.clpi", "Did you mean some_room.clip?"),
        ("some_room.clip.Modle", "clip has no 'Modle'. Did you mean some_room.clip.Model?"),
        ("no_such_package.x", "There is no module 'no_such_package' to import."),
        ("some_room..clip", "leads nowhere"),
        (".clip", "leads nowhere"),
    ],
)
def test_wrong_names_say_what_exists(room, name, expected):
    with pytest.raises(ConfigError) as caught:
        registry.find(room, name, where="model.name")
    assert expected in str(caught.value) and str(caught.value).startswith("model.name:")


@pytest.mark.parametrize("name", ["broken", "some_room.broken"])
def test_an_import_error_inside_a_module_stays_itself(room, name):
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        registry.find(room, name)
