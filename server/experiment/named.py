"""The ready experiments by name, of which nothing is parsed; and settings by what else they are
called."""

from pathlib import Path

READY = Path(__file__).parent / "ready"

# A key by the word that a person brings from elsewhere, and `section.key=word` of a value.
MEANT = {
    "rule": "arithmetic.learning",
    "surrogate_gradient": "arithmetic.surrogate",
    "precision": "arithmetic.bits",
    "quantization": "arithmetic.name",
    "epochs": "training.local_steps",
    "local_epochs": "training.local_steps",
    "num_epochs": "training.local_steps",
    "steps": "training.local_steps",
    "batch_size": "training.sample_rate, the share of records in a batch",
    "batch": "training.sample_rate, the share of records in a batch",
    "lr": "training.learning_rate",
    "lr_scheduler": "training.schedule",
    "augmentation": "training.distortion",
    "num_clients": "federation.clients",
    "num_rounds": "federation.rounds",
    "num_server_rounds": "federation.rounds",
    "fraction_fit": "federation.cohort, a number of clients",
    "min_fit_clients": "federation.cohort",
    "clients_per_round": "federation.cohort",
    "secagg": "federation.secure_aggregation",
    "aggregation": "strategy.name",
    "aggregator": "strategy.name",
    "dp": "budget",
    "privacy": "budget",
    "budget.noise": "budget.noise_multiplier",
    "sigma": "budget.noise_multiplier",
    "max_grad_norm": "budget.clip",
    "clipping": "budget.clip",
    "clip_norm": "budget.clip",
    "adaptive_clipping": "budget.clip_quantile",
    "target_clipped_quantile": "budget.clip_quantile",
    "num_bands": "federation.bands",
    "dataset": "data.name",
    "num_partitions": "federation.clients",
    "file": "data.path",
    "label": "data.target",
    "layers": "model.hidden",
    "hidden_size": "model.hidden",
    "units": "model.hidden",
    "transform": "model.front",
    "features": "model.front",
    "sparsity": "pruning.weight",
    "training.device=gpu": "cuda",
    "training.noise=none": "budget.unit = 'none'",
    "training.noise=false": "budget.unit = 'none'",
    "arithmetic.name=int8": "fixed, with bits = 8",
    "arithmetic.name=int4": "fixed, with bits = 4",
    "arithmetic.name=float32": "float",
    "arithmetic.name=snn": "spiking",
    "arithmetic.name=stdp": "spiking, with learning = 'pair'",
    "arithmetic.name=bnn": "binary",
    "model.name=mlp": "perceptron",
    "model.name=cnn": "convnet, or of windows cnn1d",
    "model.name=resnet": "resnet8",
    "data.name=csv": "file, with path",
    "strategy.name=median": "fedmedian",
    "federation.secure_aggregation=true": "masks or ckks",
    "federation.secure_aggregation=secagg": "masks",
}


def ready_experiments() -> dict[str, str]:
    """Name and first comment line of each experiment in `server/experiment/ready/`."""
    return {
        path.stem: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for path in sorted(READY.glob("*.toml"))
    }
