"""`privet infer`: encrypt, ask, decrypt, beside what the model answers in the clear."""

from pathlib import Path
from typing import Annotated

import typer

from privacy.documents import to_json
from server.commands.options import AsJson, RunName, Runs, Scheme, Trust, open_run, refuse_idle


def infer(
    run: RunName,
    scheme: Scheme = "ckks",
    images: Annotated[int, typer.Option(min=1, help="Test images to show")] = 3,
    evaluate: Annotated[int, typer.Option(min=0, help="Test images to measure on instead")] = 0,
    batch: Annotated[
        bool, typer.Option("--batch", help="Ask many at once, for --evaluate")
    ] = False,
    url: Annotated[str, typer.Option(help="Of a running service; else one is started here")] = "",
    key: Annotated[Path | None, typer.Option(help="File of the secret key; made if absent")] = None,
    authority: Annotated[
        Path | None, typer.Option(help="PEM file that vouches for the service at --url")
    ] = None,
    token: Annotated[
        Path | None, typer.Option(help="File with the token by which it knows you")
    ] = None,
    logits: Annotated[bool, typer.Option("--logits", help="Release noisy logits as well")] = False,
    flood: Annotated[int, typer.Option(min=0, help="Noise over logits: 2^N times theirs")] = 3,
    as_json: AsJson = False,
    runs: Runs = None,
    trust: Trust = False,
) -> None:
    """Classify test images that the service never sees."""
    from contextlib import nullcontext

    from clients.node.query import connect
    from server.console import err
    from server.inference.demo import Demo, require_images
    from server.inference.loopback import loopback

    measured = "--evaluate tells figures, and shows no image" if evaluate else ""
    hidden = "" if logits else "it is for --logits"
    here = "" if url else "it is for a service at --url"
    asked = "the service at --url has its own" if url else ""
    reasons = {"images": measured, "logits": measured, "flood": hidden, "scheme": asked}
    alone = "" if evaluate else "it is for --evaluate"
    refuse_idle(reasons | {"authority": here, "token": here, "batch": alone})
    found = open_run(run, runs, trust)
    found.require_same_data()
    require_images(found)
    if logits:
        err.print(
            "A CKKS decryption holds noise from which its secret key can be computed by whoever "
            f"has the ciphertext: logits leave with noise of 2^{flood} times that over them. "
            "Give them to no one who saw the ciphertexts, and use a key for few images.",
            style="yellow",
        )
    service = nullcontext(url) if url else loopback(found.path, scheme)
    with service as at:
        demo = Demo(found, connect(at, key, authority, token))
        if evaluate:
            told = demo.evaluate(evaluate, batch)
        else:
            told = demo.show(images, logits, flood, as_json)
    if as_json:
        print(to_json(told, indent=1))
    elif evaluate:
        demo.print_evaluation(told)
