"""Mosaics without a header, described by a YAML file beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from restore_hub.errors import DataError, UnreadableFileError
from restore_hub.photo.kind import Kind, kind_of
from restore_hub.photo.raw.mosaic import PHASES
from restore_hub.photo.raw.reader import read_raw, render_raw
from support import refused
from support.real import DATA, real

PLAIN = "cfa: rggb\nblack: 100\nwhite: 4000\n"


def values(height: int = 24, width: int = 30) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 4096, (height, width)).astype(np.uint16)


def describe(path: Path, text: str = PLAIN) -> Path:
    path.with_name(path.name + ".yaml").write_text(text)
    return path


def test_every_container_gives_the_same_mosaic(tmp_path: Path) -> None:
    mosaic = values()
    mosaic.astype("<u2").tofile(tmp_path / "a.raw")
    mosaic.astype(">u2").tofile(tmp_path / "b.BIN")
    np.save(tmp_path / "c.npy", mosaic)
    Image.fromarray(mosaic).save(tmp_path / "d.png")
    tifffile.imwrite(tmp_path / "e.tif", mosaic)
    tifffile.imwrite(tmp_path / "f.tiff", mosaic, compression="zlib")
    sized = PLAIN + "size: 30x24\n"
    texts = {"a.raw": sized, "b.BIN": sized + "type: uint16be", "c.npy": PLAIN, "d.png": sized, "e.tif": PLAIN}
    for name, text in {**texts, "f.tiff": PLAIN}.items():
        assert kind_of(tmp_path / name).is_raw == (name == "a.raw")  # the one suffix that cameras use as well
        raw = read_raw(describe(tmp_path / name, text))
        assert kind_of(tmp_path / name) is Kind.MOSAIC
        np.testing.assert_array_equal(raw.mosaic, mosaic)
        assert raw.mosaic.dtype == np.uint16
        assert (raw.phase, raw.balance_source) == ((0, 0), "none")
        assert (raw.black.tolist(), raw.white.tolist()) == ([100] * 4, [4000] * 4)
        assert raw.sensor == (24, 30)


def test_all_keys(tmp_path: Path) -> None:
    values().tofile(tmp_path / "a.raw")
    text = """
        size: 30x24
        cfa: GBRG
        black: [10, 20, 30, 40]
        white: [4000, 4001, 4002, 4003]
        gain: 8
        balance: [1.8, 0.9, 1.35]
        matrix: [[0.7, -0.1, -0.1], [-0.4, 1.2, 0.2], [0, 0.2, 0.6]]
        orientation: 6
        exposure_time: 0.04
        camera: "Acme\\n X1"
        area: [1, 3, 20, 25]
    """
    raw = read_raw(describe(tmp_path / "a.raw", text))
    np.testing.assert_array_equal(raw.mosaic, values()[1:21, 3:28])
    assert raw.phase == (0, 1)  # gbrg, one row and three columns on
    assert raw.black.tolist() == [10, 20, 30, 40]
    assert raw.white.tolist() == [4000, 4001, 4002, 4003]
    np.testing.assert_allclose(raw.balance, [2, 1, 1, 1.5])
    assert (raw.balance_source, raw.gain, raw.orientation, raw.exposure_time) == ("sidecar", 8, 6, 0.04)
    assert (raw.camera, raw.sensor, raw.origin) == ("Acme X1", (24, 30), (1, 3))
    assert raw.camera_from_xyz[1].tolist() == [-0.4, 1.2, 0.2]


def test_the_smallest_factor_of_a_balance_is_one(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values())
    factors = {"[1, 2, 1.5]": [1, 2, 2, 1.5], "[3, 2, 1]": [3, 2, 2, 1], "[2, 1, 1.25, 0.5]": [4, 2, 2.5, 1]}
    for balance, expected in factors.items():
        raw = read_raw(describe(tmp_path / "a.npy", f"{PLAIN}balance: {balance}"))
        assert raw.balance.tolist() == expected


@pytest.mark.parametrize("kind", [">u2", ">f4", ">f8", "<f2", ">f2", "u1"])
def test_arrays_of_any_byte_order(tmp_path: Path, kind: str) -> None:
    mosaic = values() % 256
    np.save(tmp_path / "a.npy", mosaic.astype(kind))
    raw = read_raw(describe(tmp_path / "a.npy"))
    assert raw.mosaic.dtype == np.dtype(np.uint16 if "u" in kind else np.float32)  # in the machine's own order
    np.testing.assert_array_equal(raw.mosaic, mosaic)


@pytest.mark.filterwarnings("error")
def test_floats_beyond_float32_are_not_finite(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((24, 24), 1e300))
    with refused("raw.not-finite", kind=UnreadableFileError):
        read_raw(describe(tmp_path / "a.npy", "cfa: rggb\nwhite: 1"))


def test_one_sidecar_for_a_folder_and_one_of_its_own_before_it(tmp_path: Path) -> None:
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, values())
    (tmp_path / "mosaic.yaml").write_text(PLAIN)
    describe(tmp_path / "b.npy", PLAIN.replace("rggb", "bggr"))
    assert read_raw(tmp_path / "a.npy").phase == (0, 0)
    assert read_raw(tmp_path / "b.npy").phase == (1, 1)


@pytest.mark.parametrize("cfa", list(PHASES))
@pytest.mark.parametrize("last", [False, True])
def test_packed_planes_go_to_their_sites(tmp_path: Path, cfa: str, last: bool) -> None:
    planes = np.stack([np.full((5, 6), level, np.uint16) for level in (1, 2, 3, 4)])  # R, B, Gb, Gr
    np.save(tmp_path / "a.npy", np.moveaxis(planes, 0, 2) if last else planes)
    raw = read_raw(describe(tmp_path / "a.npy", f"cfa: {cfa}\nwhite: 4000\nplanes: [r, b, gb, gr]"))
    y, x = raw.phase
    assert raw.phase == PHASES[cfa]
    assert raw.mosaic.shape == (10, 12)
    for level, (down, right) in {1: (0, 0), 2: (1, 1), 3: (1, 0), 4: (0, 1)}.items():
        assert (raw.mosaic[y ^ down :: 2, x ^ right :: 2] == level).all()


def test_floats_stay_floats_and_render_as_integers_do(tmp_path: Path) -> None:
    mosaic = values(40, 44) // 8 + 500
    np.save(tmp_path / "whole.npy", mosaic)
    np.save(tmp_path / "float.npy", (mosaic.astype(np.float64) - 100) / 3900)
    whole = read_raw(describe(tmp_path / "whole.npy"))
    parts = read_raw(describe(tmp_path / "float.npy", "cfa: rggb\nwhite: 1"))
    assert parts.mosaic.dtype == np.float32
    np.testing.assert_allclose(parts.mosaic, (whole.mosaic - np.float32(100)) / 3900, atol=1e-6)
    pictures = [render_raw(tmp_path / f"{name}.npy").astype(int) for name in ("whole", "float")]
    assert pictures[0].std() > 1000
    # Rounding may make the demosaicing choose another direction here and there.
    assert np.abs(pictures[0] - pictures[1]).mean() < 20


BAD = "raw.sidecar-bad-value"


@pytest.mark.parametrize(
    ("text", "code", "key"),
    [
        ("cfa: rggb\nblack: 100\nwhit: 4000", "raw.sidecar-unknown-key", ""),
        ("cfa: rggb\nblack: 100", "raw.sidecar-missing-key", ""),
        ("cfa: rgbg\nwhite: 4000", BAD, "cfa"),
        ("cfa: rggb\nwhite: 4000\nsize: [30, 24]", BAD, "size"),
        ("cfa: rggb\nwhite: 4000\nsize: 0x24", BAD, "size"),
        ("cfa: rggb\nwhite: 100\nblack: [1, 2, 3, 100]", "raw.levels", ""),
        ("cfa: rggb\nwhite: [1, 2]", BAD, "white"),
        ("cfa: rggb\nwhite: .nan", BAD, "white"),
        ("cfa: rggb\nwhite: true", BAD, "white"),
        ('cfa: rggb\nwhite: "600"', BAD, "white"),
        ("cfa: rggb\nwhite: 1e30", BAD, "white"),
        ("cfa: rggb\nwhite: 100.0001\nblack: 100", "raw.levels", ""),
        ("cfa: rggb\nwhite: 1\nbalance: [1e-50, 1, 1]", BAD, "balance"),
        ("cfa: rggb\nwhite: 1\nbalance: [1, 1]", BAD, "balance"),
        ("cfa: rggb\nwhite: 1\ngain: 1e7", BAD, "gain"),
        ("cfa: rggb\nwhite: 1\nexposure_time: 1e10", BAD, "exposure_time"),
        ("cfa: rggb\nwhite: 1\narea: [0, 0, 1.5, 2]", BAD, "area"),
        ("cfa: rggb\nwhite: 1\nmatrix: [[1e12, 0, 0], [0, 1, 0], [0, 0, 1]]", BAD, "matrix"),
        ("cfa: rggb\nwhite: 4000\ngain: 0", BAD, "gain"),
        ("cfa: rggb\nwhite: 4000\nplanes: [r, gr, gr, b]", BAD, "planes"),
        ("cfa: rggb\nwhite: 4000\narea: [0, 0, 25, 30]", "raw.area-outside", ""),
        ("cfa: rggb\nwhite: 4000\nmatrix: [[1, 0, 0], [1, 0, 0], [0, 0, 1]]", BAD, "matrix"),
        ("cfa: rggb\ncfa: bggr\nwhite: 1", "raw.sidecar-not-yaml", ""),
        ("- a\n- b", "raw.sidecar-not-a-mapping", ""),
        ("cfa: [", "raw.sidecar-not-yaml", ""),
        ("x: " + "y" * 70000, "raw.sidecar-too-long", ""),
    ],
)
def test_sidecars_that_make_no_sense(tmp_path: Path, text: str, code: str, key: str) -> None:
    np.save(tmp_path / "a.npy", values())
    with refused(code, f"a.npy.yaml: {key}" if key else "a.npy.yaml") as caught:
        read_raw(describe(tmp_path / "a.npy", text))
    assert not isinstance(caught.value, UnreadableFileError)
    assert code != "raw.sidecar-unknown-key" or caught.value.mend == "did you mean 'white'?"


def test_files_that_do_not_fit_their_sidecar(tmp_path: Path) -> None:
    values().tofile(tmp_path / "a.raw")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "b.png")
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((24, 24, 3), np.uint16), photometric="rgb")
    np.save(tmp_path / "d.npy", values())
    np.save(tmp_path / "e.npy", np.array([[1.0, np.nan]]))
    for index, (shape, kind) in enumerate((((4, 4), np.int64), ((3, 4, 5), np.uint16), ((0, 4), np.uint16))):
        np.save(tmp_path / f"f{index}.npy", np.zeros(shape, kind))
    for name, more, code, facts in [
        ("a.raw", "", "raw.sidecar-missing-key", {"key": "size"}),
        ("a.raw", "size: 30x25", "raw.truncated", {"found": 1440, "expected": 1500}),
        ("a.raw", "size: 30x24\ntype: uint8", "raw.too-long", {"found": 1440, "expected": 720}),
        ("b.png", "", "raw.not-a-mosaic", {}),
        ("c.tif", "", "raw.not-a-mosaic", {}),
        ("d.npy", "size: 24x30", "raw.other-size", {"found": "30x24", "stated": "24x30"}),
        ("e.npy", "", "raw.not-finite", {}),
        ("f0.npy", "", "raw.not-a-mosaic", {}),
        ("f1.npy", "", "raw.not-a-mosaic", {}),
        ("f2.npy", "", "raw.not-a-mosaic", {}),
        ("missing.npy", "", "photo.missing", {}),
    ]:
        with refused(code, name, DataError, **facts) as caught:
            read_raw(describe(tmp_path / name, PLAIN + more))
        assert isinstance(caught.value, UnreadableFileError) == (code in ("raw.truncated", "raw.not-finite"))
    np.save(tmp_path / "alone.npy", values())
    with refused("raw.no-sidecar", tmp_path / "alone.npy", sidecar="alone.npy.yaml"):
        read_raw(tmp_path / "alone.npy")


def test_cut_off_and_damaged_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values())
    Image.fromarray(values()).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", values())
    for name in ("a.npy", "a.png", "a.tif"):
        whole = describe(tmp_path / name).read_bytes()
        for part in (0.0, 0.02, 0.5, 0.95):
            (tmp_path / name).write_bytes(whole[: int(part * len(whole))])
            with pytest.raises(UnreadableFileError):
                read_raw(tmp_path / name)


@real
def test_real_mosaics_without_a_header(tmp_path: Path) -> None:
    folder = DATA / "raw"
    pictures = {}
    for cfa, phase in PHASES.items():
        path = tmp_path / f"{cfa}.raw"
        path.write_bytes((folder / "nikon_dsc1339_4cfa" / f"DSC_1339_768x512_{cfa}.raw").read_bytes())
        raw = read_raw(describe(path, f"size: 768x512\ncfa: {cfa}\nblack: 600\nwhite: 15520\nbalance: [2, 1, 1.5]"))
        assert raw.mosaic.shape == (512, 768)
        assert (raw.mosaic.min(), raw.mosaic.max()) == (616, 16383)
        assert raw.phase == phase
        pictures[cfa] = render_raw(path) / 65535
    for picture in pictures.values():
        # The other three were made by moving values inside each tile: a picture shifted by up to a pixel.
        assert np.sqrt(((picture - pictures["rggb"]) ** 2).mean()) < 0.03
    (tmp_path / "test.RAW").write_bytes((folder / "openisp_test" / "test.RAW").read_bytes())
    raw = read_raw(describe(tmp_path / "test.RAW", "size: 1920x1080\ncfa: rggb\nwhite: 1023"))
    assert (raw.mosaic.shape, int(raw.mosaic.max())) == ((1080, 1920), 1020)
    (tmp_path / "h.png").write_bytes((folder / "halide_bayer_small" / "bayer_small.png").read_bytes())
    raw = read_raw(describe(tmp_path / "h.png", "size: 256x344\ncfa: grbg\nblack: 25\nwhite: 1023"))
    assert (raw.phase, int(raw.mosaic.max())) == ((0, 1), 1053)
