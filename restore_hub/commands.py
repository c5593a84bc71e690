"""The built-in commands: name, module in `restore_hub.cli`, and help line, so that --help imports no command."""

from __future__ import annotations

COMMANDS = {
    "run": ("run", "Train a pipeline and export it: a tracked run, metrics, ONNX files."),
    "check": ("check", "Check a spec without training: names, levels, shapes, cost."),
    "forecast": ("forecast", "Forecast time, memory and disk of a run; compare solvers."),
    "export": ("export", "Export a run again, or published weights; merge files, or pack one for another program."),
    "track": ("track", "Send a tracker what it's missing of a run."),
    "evaluate": ("evaluate", "Measure runs, ONNX files or folders of results by metrics; say which is better."),
    "compare": ("compare", "Compare runs: what differs in their specs, metrics, curves, pictures."),
    "restore": ("restore", "Run an exported ONNX file on a photograph or a folder, without PyTorch."),
    "inspect": ("inspect_", "Show what an exported ONNX file or a RAW file says about itself."),
    "verify": ("verify", "Check that exported ONNX files are intact and compute correctly here."),
    "zoo": ("zoo", "List the models that come with this package, show the card of one, or add one."),
    "doctor": ("doctor", "Check this machine: versions, devices and their speed, memory, folders."),
    "data": ("data", "Prepare or check data, with commands that plugins add."),
    "list": ("list_", "List plugins and what they register."),
    "show": ("show", "Show one component: options, types, defaults, references."),
    "new-plugin": ("new_plugin", "Write the folder of a new plugin that installs and passes its tests."),
    "schema": ("schema", "Print the JSON Schema of specs, for editors."),
}

COMMAND_GROUPS = ("data",)  # those that plugins may add a command to
