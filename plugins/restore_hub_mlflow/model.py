"""An ONNX file as a model of MLflow, with its signature."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def log_model(client: Any, run_id: str, path: Path) -> str:
    """Log an ONNX file as a model of a run, and return the model's id.

    The signature names every input and output with its type and shape, where -1 stands for a size that may vary.
    `mlflow.onnx.log_model` does the same for the global active run, which the tracker's thread doesn't have.
    """
    import mlflow.onnx
    import onnx
    from mlflow.entities import LoggedModelOutput
    from mlflow.entities.logged_model_status import LoggedModelStatus
    from mlflow.models import Model, ModelSignature

    content = onnx.load(path)
    signature = ModelSignature(inputs=_schema(content.graph.input), outputs=_schema(content.graph.output))
    experiment = client.get_run(run_id).info.experiment_id
    logged = client.create_logged_model(experiment, name=path.stem, source_run_id=run_id)
    described = Model(
        artifact_path=logged.artifact_location, run_id=run_id, model_uuid=logged.model_id, model_id=logged.model_id
    )
    with tempfile.TemporaryDirectory() as folder:
        mlflow.onnx.save_model(
            content,
            str(Path(folder) / "model"),
            mlflow_model=described,
            signature=signature,
            # Otherwise MLflow starts a process that loads the model to find out.
            pip_requirements=mlflow.onnx.get_default_pip_requirements(),
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
        )
        client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return str(logged.model_id)


def _schema(values: Any) -> Any:
    import onnx
    from mlflow.types import Schema, TensorSpec

    specs = []
    for value in values:
        tensor = value.type.tensor_type
        shape = [size.dim_value if size.HasField("dim_value") else -1 for size in tensor.shape.dim]
        kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        specs.append(TensorSpec(kind, tuple(shape), value.name))
    return Schema(specs)
