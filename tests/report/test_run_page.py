"""`report.html`: complete, well-formed, offline, safe, and open about what is missing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from restore_hub.photo.picture_writer import write_picture
from restore_hub.report import pictures, write_report
from support import refused
from support.models import Write

VOID = {"meta", "br", "img", "input"}


class Reader(HTMLParser):
    """Checks that every tag is closed in order, and collects texts, attributes and tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.raw = {"style": "", "script": ""}
        self.feed(page)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.raw:
            self.raw[self.open[-1]] += data
        else:
            self.text += data + " "


def read(folder: Path) -> Reader:
    return Reader(write_report(folder).read_text(encoding="utf-8"))


def test_the_report_holds_everything(make_run: Write, tmp_path: Path) -> None:
    with refused("train.not-a-run", tmp_path):
        write_report(tmp_path)
    folder = make_run()
    page = read(folder)
    first = (folder / "report.html").read_bytes()
    assert write_report(folder).read_bytes() == first
    text = " ".join(page.text.split())
    for line in (
        "small finished",
        "6 steps of joint, then 4 steps of ibgl, in 25 s. At the end of stage 2: psnr 19.75, mine 4.",
        "metric end of stage 1 end of stage 2 best (step 6) psnr 20.25 19.75 20.25 mine 3 4 3",
        "Peak signal-to-noise ratio in dB, -10 log10 MSE",
        "(std/psnr; prediction = out and target = data.rgb)",
        "Its plugin isn't installed here. (gone/mine;",
        "rounded to 8 bits; nothing is cropped",
        "1 std/joint 6 6 steps 12.3 6 finished 2 std/ibgl 4 4 steps 12.3 24 finished",
        "train raw/pairs 7 2 0",
        "train: two & a half scenes",
        "threads 3",
        "torch 2.9.0",
        "solver: std/ibgl",
        "Nothing was exported.",
    ):
        assert line in text, line
    assert "Logarithmic axis" in text, "of s, which spans three decades"
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == ["0-p, input", "0-p, output", "0-p, reference"]
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in images)


def test_the_report_loads_nothing_and_runs_only_its_own_script(make_run: Write) -> None:
    page = read(make_run())
    links = [
        v for _, attributes in page.tags for k, v in attributes.items() if k in ("src", "href", "srcset", "action")
    ]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {link[1:] for link in links if link.startswith("#")} == ids
    assert not re.search(r"url\(|@import|https?://", page.raw["style"] + page.raw["script"])
    assert not [
        attributes for _, attributes in page.tags if any(k.startswith("on") or k == "style" for k in attributes)
    ]
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for raw in page.raw.values():
        digest = base64.b64encode(hashlib.sha256(raw.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_names_are_escaped(make_run: Write) -> None:
    evil = '</title><script>alert(1)</script>"><img src=x onerror=alert(2)>'
    folder = make_run(name="evil", **{"metrics": {}})
    document = json.loads((folder / "spec.json").read_text())
    document["spec"]["name"] = evil
    (folder / "spec.json").write_text(json.dumps(document))
    (folder / "left_out.jsonl").write_text(json.dumps({"split": evil, "files": [evil], "reason": evil}) + "\n")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 10, evil: 1.0}) + "\n")
    page = read(folder)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not [a for tag, a in page.tags if "onerror" in a or a.get("src") == "x"]
    assert page.text.count(evil) >= 5


def test_a_run_without_anything_yet(make_run: Write) -> None:
    folder = make_run()
    for path in (*folder.glob("*.jsonl"), *folder.glob("pictures/*"), *folder.glob("[ds]*[ats].json")):
        path.unlink()
    text = read(folder).text
    for line in (
        "not finished",
        "No step yet.",
        "metrics.jsonl: missing.",
        "no values were recorded yet",
        "data.json: missing.",
        "Nothing was measured",
        "No pictures were recorded.",
        "No losses were recorded.",
        "not begun",
    ):
        assert line in text, line


def test_damaged_pieces_are_named_and_the_rest_is_shown(make_run: Write) -> None:
    folder = make_run()
    journal = folder / "metrics.jsonl"
    journal.write_bytes(journal.read_bytes()[:-30])
    (folder / "environment.json").write_text("{")
    (folder / "status.json").write_text('{"status": "KILLED"}')
    (folder / "pictures" / "0-p-output.png").write_bytes(b"\x89PNG")
    (folder / "export" / "chain.onnx").write_bytes(b"no graph")
    text = read(folder).text
    for line in (
        "stopped",
        "metrics.jsonl: line 12 of 12 is damaged",
        "environment.json: damaged.",
        "These pictures can't be read: output.",
        "export/chain.onnx: ",
        "loss/upper",
    ):
        assert line in text, line


def test_pictures_fit_the_budget(make_run: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, rng = make_run(), np.random.default_rng(0)
    for index in range(3):
        write_picture(folder / "pictures" / f"{index}-p-output.png", rng.random((300, 400, 3)))
    whole = len(write_report(folder).read_bytes())
    monkeypatch.setattr(pictures, "BUDGET", 250_000)
    page = read(folder)
    assert len((folder / "report.html").read_bytes()) < 0.75 * whole
    widths = [int(attributes["width"]) for tag, attributes in page.tags if tag == "img"]
    assert max(widths) == 320
    monkeypatch.setattr(pictures, "BUDGET", 90_000)
    assert "more are in the run's folder" in read(folder).text


def test_reports_need_no_torch(make_run: Write) -> None:
    code = "import sys; from pathlib import Path; from restore_hub.report import write_report; "
    code += "write_report(Path(sys.argv[1])); assert not {'torch', 'onnx', 'mlflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(make_run())], check=True)
