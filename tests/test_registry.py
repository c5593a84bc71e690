"""Looking names up: bare names, near misses, other kinds, and plugins that failed."""

from __future__ import annotations

import pytest

from restore_hub.errors import PluginError, UnknownComponentError
from restore_hub.registry import Component, Registry
from support import refused


def _component(kind: str, name: str, target: str = "math:sqrt") -> Component:
    return Component(kind, name, target, "A part", (), "owner", "1.0")


REGISTRY = Registry.of(
    [
        _component("loss", "std/l1"),
        _component("loss", "std/ssim"),
        _component("metric", "std/ssim"),
        _component("network", "raw/unet"),
        _component("network", "retinex/illumination"),
        _component("network", "z/unets"),
    ],
    {name: PluginError("plugin.fails", f"plugin {name!r}", cause="x") for name in ("broken", "my-broken")},
)


def test_bare_name_means_std() -> None:
    assert REGISTRY.find("loss", "l1") is REGISTRY.find("loss", "std/l1")
    assert REGISTRY.find("metric", "ssim").kind == "metric"


@pytest.mark.parametrize(
    ("kind", "name", "code", "near"),
    [
        ("network", "retinex/ilumination", "plugin.unknown-component", "retinex/illumination"),
        ("network", "illumination", "plugin.unknown-component", "retinex/illumination"),
        ("network", "unet", "plugin.unknown-component", "raw/unet"),
        ("network", "raww/unet", "plugin.unknown-component", "raw/unet"),
        ("metric", "xyz", "plugin.unknown-component", None),
        ("metric", "std/nope", "plugin.unknown-component", None),
        ("metric", "ssss", "plugin.unknown-component", None),
        ("loss", "raw/unet", "plugin.other-kind", None),
        ("network", "broken/net", "plugin.fails", None),
        ("network", "my_broken/net", "plugin.fails", None),
    ],
)
def test_unknown_name_suggests_what_was_meant(kind: str, name: str, code: str, near: str | None) -> None:
    with refused(code, kind=UnknownComponentError) as caught:
        REGISTRY.find(kind, name)
    assert (f"did you mean {near!r}?" == caught.value.mend) if near else ("did you mean" not in caught.value.mend)


def test_one_name_may_have_several_kinds() -> None:
    assert [c.kind for c in REGISTRY.find_all("ssim")] == ["loss", "metric"]
    with refused("plugin.unknown-name", kind=UnknownComponentError) as caught:
        REGISTRY.find_all("unets")
    assert "z/unets" in caught.value.mend
    with refused("plugin.fails", "broken/net"):
        REGISTRY.find_all("broken/net")


def test_listing_is_sorted_and_by_kind() -> None:
    assert REGISTRY.names("network") == ["raw/unet", "retinex/illumination", "z/unets"]
    first = [(c.kind, c.name) for c in REGISTRY.of_kind()][:3]
    assert first == [("loss", "std/l1"), ("loss", "std/ssim"), ("metric", "std/ssim")]
    assert [c.name for c in REGISTRY.of_kind("metric")] == ["std/ssim"]


def test_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        REGISTRY.components["loss", "std/l1"] = _component("loss", "std/l1")  # type: ignore[index]


def test_target_is_imported_by_load_only() -> None:
    assert _component("loss", "std/root").load()(9) == 3
    broken = _component("loss", "std/broken", "no_such_module_here:X")
    with refused("plugin.cannot-import", "loss 'std/broken'", PluginError, owner="owner"):
        broken.load()
