"""A plan on disk, for the server, and what is told of it to clients: an offer.

The digest of the plan's bytes names the model: a frame made for one model is refused by another.
"""

import hashlib
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from privacy.documents import from_json, to_json
from privacy.encrypted.plan import Plan, Product
from privacy.encrypted.recipes import Recipe
from privacy.encrypted.wire import BatchOffer, Offer
from privacy.errors import RunError


def plan_to_bytes(plan: Plan) -> bytes:
    """A plan as safetensors; its scalars in the metadata."""
    arrays: dict[str, NDArray] = {"pixels": plan.pixels}
    products = []
    for number, product in enumerate(plan.products):
        arrays[f"{number}.real"] = np.ascontiguousarray(product.diagonals.real)
        if np.iscomplexobj(product.diagonals):
            arrays[f"{number}.imaginary"] = np.ascontiguousarray(product.diagonals.imag)
        arrays[f"{number}.bias"] = product.bias
        products.append(
            {"babies": product.babies, "unit": product.unit, "sum_steps": product.sum_steps}
        )
    recipe = asdict(plan.recipe) | {"rescale": sorted(plan.recipe.rescale)}
    about = {
        "shape": plan.shape,
        "pool": plan.pool,
        "recipe": recipe,
        "products": products,
        "num_classes": plan.num_classes,
        "logit_divisor": plan.logit_divisor,
        "headroom_bits": plan.headroom_bits,
    }
    return save(arrays, metadata={"plan": to_json(about)})


def plan_from_bytes(content: bytes) -> Plan:
    """The plan that `plan_to_bytes` wrote.

    Raises:
        RunError: damaged.
    """
    try:
        arrays = load(content)
        size = int.from_bytes(content[:8], "little")
        about = from_json(from_json(content[8 : 8 + size])["__metadata__"]["plan"])
        recipe = about["recipe"]
        products = []
        for number, note in enumerate(about["products"]):
            diagonals = arrays[f"{number}.real"]
            if f"{number}.imaginary" in arrays:
                diagonals = diagonals + 1j * arrays[f"{number}.imaginary"]
            steps = tuple(note["sum_steps"])
            bias = arrays[f"{number}.bias"]
            products.append(Product(diagonals, note["babies"], note["unit"], steps, bias))
        return Plan(
            shape=tuple(about["shape"]),
            pool=about["pool"],
            recipe=Recipe(
                degree=recipe["degree"],
                prime_bits=tuple(recipe["prime_bits"]),
                special_bits=recipe["special_bits"],
                input_bits=recipe["input_bits"],
                weight_bits=tuple(recipe["weight_bits"]),
                rescale=frozenset((name, layer) for name, layer in recipe["rescale"]),
            ),
            pixels=arrays["pixels"],
            products=tuple(products),
            num_classes=about["num_classes"],
            logit_divisor=about["logit_divisor"],
            headroom_bits=about["headroom_bits"],
        )
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"program.safetensors: damaged: {error!r}") from None


def digest(content: bytes) -> str:
    """What a model is called: 16 bytes of SHA-256, in hex."""
    return hashlib.sha256(content).hexdigest()[:32]


def offer_of(
    plan: Plan,
    model: str,
    calibration: str,
    batch: BatchOffer | None = None,
    weights: str = "",
) -> Offer:
    """What a client is told: how to pack and to encrypt, and the SHA-256 of the weights."""
    recipe = plan.recipe
    return Offer(
        model=model,
        weights=weights,
        shape=plan.shape,
        pool=plan.pool,
        pixels=(tuple(plan.pixels[0].tolist()), tuple(plan.pixels[1].tolist())),
        num_classes=plan.num_classes,
        degree=recipe.degree,
        prime_bits=recipe.prime_bits,
        special_bits=recipe.special_bits,
        input_bits=float(recipe.input_bits),
        rotations=tuple(plan.rotations),
        logit_divisor=plan.logit_divisor,
        calibration=calibration,
        batch=batch,
    )
