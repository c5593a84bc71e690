"""Looking names up: bare names, near misses, other kinds, and plugins that failed."""

from __future__ import annotations

import pytest

from restore_hub.errors import PluginError, UnknownComponentError
from restore_hub.registry import Component, Registry


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
    {"broken": "ImportError: no module named 'x'", "my-broken": "SyntaxError: x"},
)


def test_bare_name_means_std() -> None:
    assert REGISTRY.find("loss", "l1") is REGISTRY.find("loss", "std/l1")
    assert REGISTRY.find("metric", "ssim").kind == "metric"


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("network", "retinex/ilumination", "did you mean 'retinex/illumination'"),
        ("network", "illumination", "did you mean 'retinex/illumination'"),
        ("network", "unet", "did you mean 'raw/unet'"),
        ("network", "raww/unet", "did you mean 'raw/unet'"),
        ("loss", "l2", "unknown loss 'l2'"),
        ("loss", "raw/unet", "'raw/unet' is a network, not a loss"),
        ("network", "broken/net", "failed to load: ImportError: no module named 'x'"),
        ("network", "my_broken/net", "the plugin 'my-broken', which failed to load: SyntaxError: x"),
        ("metric", "xyz", "`restore-hub list metric` shows all 1"),
    ],
)
def test_unknown_name_says_what_was_meant(kind: str, name: str, hint: str) -> None:
    with pytest.raises(UnknownComponentError) as caught:
        REGISTRY.find(kind, name)
    assert hint in str(caught.value)


@pytest.mark.parametrize("name", ["xyz", "nope", "std/nope", "ssss"])
def test_nothing_near_gives_no_hint(name: str) -> None:
    with pytest.raises(UnknownComponentError) as caught:
        REGISTRY.find("metric", name)
    assert "did you mean" not in str(caught.value)


def test_listing_is_sorted_and_by_kind() -> None:
    assert REGISTRY.names("network") == ["raw/unet", "retinex/illumination", "z/unets"]
    assert [(c.kind, c.name) for c in REGISTRY.of_kind()][:3] == [
        ("loss", "std/l1"),
        ("loss", "std/ssim"),
        ("metric", "std/ssim"),
    ]
    assert [c.name for c in REGISTRY.of_kind("metric")] == ["std/ssim"]


def test_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        REGISTRY.components["loss", "std/l1"] = _component("loss", "std/l1")  # type: ignore[index]


def test_target_is_imported_by_load_only() -> None:
    assert _component("loss", "std/root").load()(9) == 3
    broken = _component("loss", "std/broken", "no_such_module_here:X")
    with pytest.raises(PluginError, match=r"loss 'std/broken' of owner .*No module named 'no_such_module_here'"):
        broken.load()
