"""Which arguments `restore-hub export` takes together."""

from __future__ import annotations

import shlex

import pytest

from support.commands import output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", "give SOURCE"),
        ("m.onnx", "give --to EXPORTER"),
        ("m.onnx --to darktable/dtmodel", "-o OUT"),
        ("m.onnx --to darktable/dtmodel -o a --int8", "neither --weights nor --int8"),
        ("--merge a.onnx+b.onnx", "--merge takes -o OUT.onnx"),
        ("m.onnx --merge a.onnx+b.onnx -o c.onnx", "and nothing else"),
        ("--merge a.onnx+b.onnx -o c.onnx --weights best", "and nothing else"),
        (". --set name=x", "--set changes a spec"),
        (". --overwrite", "--overwrite goes with --to or --merge"),
        ("sci", "for a spec, give -o OUT"),
        ("runs/mistyped --int8", "runs/mistyped isn't a run folder"),
        ("sci -o x --weights best", "no --weights or --int8"),
    ],
)
def test_arguments_that_do_not_go_together(arguments: str, text: str) -> None:
    assert text in " ".join(output("export", *shlex.split(arguments), exit_code=2).split())
