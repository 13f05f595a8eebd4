"""ONNX models: write, quantise and run them."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, first_line
from .observations import Inputs

if TYPE_CHECKING:
    from torch.export import ExportedProgram

PROGRAM = "policy.onnx"
LARGEST = 1 << 30  # bytes of weights that are part of the file, which protobuf limits to 2 GiB
ERRORS = 3  # onnxruntime's level of messages about errors only
EXTRA = "pip install 'rgb2act[export]'"


def check_installed(*names: str) -> None:
    """Raise UserError if one of these packages is not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"export: needs {' and '.join(missing)}; {EXTRA}")


def can_run() -> bool:
    """Return whether ONNX models can be run on this machine."""
    return importlib.util.find_spec("onnxruntime") is not None


def write_onnx(program: ExportedProgram, path: Path, inputs: list[str], output: str) -> None:
    """Write a program as an ONNX model, with a second file for weights of more than 1 GiB.

    Raises UserError if it has an operation that ONNX lacks.
    """
    import torch
    from onnxscript import optimizer

    tensors = (*program.state_dict.values(), *program.tensor_constants.values())
    size = sum(value.nbytes for value in tensors)
    names: dict[str, Any] = {"input_names": inputs, "output_names": [output]}
    try:
        with _quiet():
            model = torch.onnx.export(program, dynamo=True, optimize=False, verbose=False, **names)
            assert model is not None
            # fusing operations takes minutes for a UNet, and onnxruntime does it on loading
            optimizer.fold_constants(model.model)
            optimizer.remove_unused_nodes(model.model)
            model.save(path, external_data=size > LARGEST)
    except Exception as err:
        raise UserError(
            f"export: the policy has an operation without an ONNX form ({first_line(err)}); use"
            " --to torch"
        ) from err


def quantise(path: Path) -> None:
    """Replace a model by one whose matrix products have int8 weights."""
    from onnxruntime import set_default_logger_severity
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    set_default_logger_severity(ERRORS)
    prepared, int8 = path.with_suffix(".prepared"), path.with_suffix(".int8")
    with _quiet():  # constants are folded first, so that weights are recognised
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_dynamic(prepared, int8, weight_type=QuantType.QInt8)
    int8.replace(path)
    prepared.unlink()


def open_onnx(path: Path) -> Callable[[Inputs], NDArray[np.float32]]:
    """Return a function that runs the model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)

    def run(inputs: Inputs) -> NDArray[np.float32]:
        plan_SA: NDArray[np.float32] = session.run(None, dict(inputs))[0]
        return plan_SA

    return run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what exporters print and log about their own steps."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
