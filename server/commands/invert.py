"""`privet invert`: factors of a number, by a multiplier of p-bits that is run backwards."""

from dataclasses import asdict
from typing import Annotated

import typer

from privacy.documents import to_json
from privacy.errors import PrivetError
from server.commands.options import AsJson


def invert(
    product: Annotated[
        int, typer.Argument(help="Whose two factors are looked for", max=(1 << 32) - 1)
    ],
    bits: Annotated[int, typer.Option(help="Of a factor; 0: half of the product's")] = 0,
    chains: Annotated[int, typer.Option(help="Side by side", min=1, max=4096)] = 64,
    sweeps: Annotated[int, typer.Option(help="At most", min=1, max=10_000_000)] = 20_000,
    seed: Annotated[int, typer.Option(help="Of all that is random", min=0, max=1 << 62)] = 1,
    as_json: AsJson = False,
) -> None:
    """Factor a number with an invertible multiplier: its product is clamped, its inputs read."""
    from clients.arithmetic.pbits.factoring import factor
    from server.console import fact_table, out

    found = factor(product, bits, chains=chains, sweeps=sweeps, seed=seed)
    if as_json:
        print(to_json(asdict(found) | {"guessing": found.guessing}, indent=1))
    if found.factors is None:
        raise PrivetError(
            f"{product}: no two factors of {found.bits} bits in {found.sweeps:,} sweeps of "
            f"{chains} chains: it may be prime; try --bits {found.bits + 1}, or more --sweeps"
        )
    if as_json:
        return
    print(f"{found.factors[0]} x {found.factors[1]}")
    facts = {
        "spins": f"{found.spins}, of which {found.free} are free",
        "solved": f"{found.solved} of {chains} chains",
        "sweeps": f"{found.first:,} until the first, "
        + (f"{found.median:,} until half" if found.median else "more than it had until half"),
        "guessing": f"{found.guessing:,.0f} until half, if each sweep were a guess at random",
        "updates": f"{found.updates:,} of a spin, in all",
    }
    out.print(fact_table("", facts))
