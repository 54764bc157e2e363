"""Where a step is computed: on a processor, or by the same torch code on a GPU.

A GPU gets a step's inputs and weights, and gives weights back: per-record norms and clipped sums by
`privacy.dp.bookkeeping`, in float64. Keys, batches, the ledger and the noise stay with the
processor, and so does all that is done with a model between two rounds.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn

from clients.training.job import Job
from privacy.errors import ModelError, SettingsError

DEVICES = {"cpu": torch.device("cpu"), "cuda": torch.device("cuda")}
REMEDY = "use device = 'cpu', or 'auto', which takes a GPU where there is one"

MOST_AT_ONCE = 1 << 10  # records of a pass
HELD = 1 << 28  # numbers of all their gradients: 1 GiB in float32
WORKSPACES = (":4096:8", ":16:8")  # of cuBLAS, with which it sums alike each time


def lacking() -> str:
    """Why there is no GPU to compute on; empty if there is one."""
    # By NVIDIA's library, without CUDA's own start, after which a process could not be forked.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    return _lacking()


@cache
def _lacking() -> str:
    if not torch.backends.cuda.is_built():
        return "torch is built without CUDA here"
    return "" if torch.cuda.is_available() else "torch finds no CUDA device here"


def why_not(job: Job) -> str:
    """Why a job cannot be computed on a GPU here; empty if it can."""
    return job.bound_to_processor or lacking()


def require_here(job: Job, where: str = "") -> None:
    """Refuse a job for a GPU where there is none.

    Args:
        where: it says so, for a person: a file, or `-s section.key=value`.

    Raises:
        SettingsError: it wants one.
    """
    if job.training.device == "cuda" and (why := why_not(job)):
        raise SettingsError(f"{where and f'{where}: '}[training] device = 'cuda': {why}; {REMEDY}")


def chosen(job: Job) -> str:
    """A key of `DEVICES`: where a job is computed here.

    Raises:
        SettingsError: it wants a GPU, and there is none.
    """
    require_here(job)
    return "cpu" if job.training.device == "cpu" or why_not(job) else "cuda"


def where_there_is_one(job: Job) -> Job:
    """The same job, on the processor where there is no GPU."""
    if job.training.device != "cuda":
        return job
    training = job.training.model_copy(update={"device": "auto"})
    return job.model_copy(update={"training": training})


def described() -> dict[str, str]:
    """The GPU that is computed on, its name, and the version of CUDA.

    Raises:
        SettingsError: it does not start.
    """
    if lacking():
        return {}
    try:
        name = torch.cuda.get_device_name()
    except RuntimeError as error:
        why = str(error).partition("\n")[0]
        raise SettingsError(f"[training] device: the GPU does not start: {why}; {REMEDY}") from None
    return {"gpu": name, "cuda": str(torch.version.cuda)}


def at_once(module: nn.Module) -> int:
    """Records of a pass on a GPU: many, but no more than whose gradients fit beside the model."""
    weights = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return max(1, min(MOST_AT_ONCE, HELD // max(1, weights)))


def settle() -> None:
    """Have a GPU compute the same numbers each time, and float32 as float32: for good.

    A layer that can only be summed in another order each time is then refused by torch.
    """
    if os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in WORKSPACES:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = WORKSPACES[0]
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)


@contextmanager
def on(name: str, module: nn.Module) -> Iterator[torch.device]:
    """A module on a device of `DEVICES` for the while, and back with the processor after it.

    Raises:
        ModelError: the GPU has not enough memory, or a layer would not compute alike twice.
    """
    device = DEVICES[name]
    if name == "cpu":
        yield device
        return
    settle()
    try:
        module.to(device)
        yield device
    except torch.cuda.OutOfMemoryError:
        raise ModelError(
            "[training] device = 'cuda': the GPU's memory is too small for a step; use a smaller "
            "sample_rate or [model], or device = 'cpu'"
        ) from None
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        layer = str(error).split()[0]
        raise ModelError(
            f"[training] device = 'cuda': torch's {layer} sums in another order each time on a "
            "GPU; use device = 'cpu', or another layer"
        ) from None
    finally:
        module.to(DEVICES["cpu"])
