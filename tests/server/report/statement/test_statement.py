"""A statement's numbers, each found again in the run by another reader; what is missing is told."""

import hashlib
import json
import math
import re
import shutil
import tomllib

import pytest
from reported import HOSTILE, Page, copy
from safetensors import safe_open
from safetensors.numpy import load_file

from privacy.documents import from_json
from server.report.statement import read_statement, to_html, to_json, to_markdown
from server.report.statement.guarantee import found, guesses
from server.run.directory import Run

OF_LAW = ("NIST SP 800-226", "Opinion 28/2024, section 3.2", "95 %")  # no numbers of a run
WHO = ("final_model", "all_rounds", "server", "secure_sum", "malicious_client")


def found_again(folder):
    """Every number of a statement, from the files alone: "part.key" -> value."""
    toml = tomllib.loads((folder / "experiment.toml").read_text())
    rounds = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    budget, training, federation = toml["budget"], toml["training"], toml["federation"]
    manifest = load_file(folder / "manifest.safetensors")
    with safe_open(folder / "manifest.safetensors", "numpy") as file:
        about = file.metadata()
    owner, held_out = manifest["owner"], manifest["held_out"].astype(bool)
    own = [int(((owner == n) & ~held_out).sum()) for n in range(federation["clients"])]
    clients = [c for record in rounds for c in record["clients"]]
    epsilon, delta = rounds[-1]["epsilon"], budget["delta"]
    told = {
        "guarantee.epsilon_spent": epsilon,
        "guarantee.epsilon_promised": budget["epsilon"],
        "guarantee.epsilon_full": epsilon,  # all clients took part in every round
        "guarantee.delta": delta,
        "odds.factor": math.exp(epsilon),
        "odds.guess": (math.exp(epsilon) + delta) / (1 + math.exp(epsilon)),
        "odds.found": min(
            0.01 * math.exp(epsilon) + delta, 1 - (1 - delta - 0.01) / math.exp(epsilon)
        ),
        "mechanism.noise_multiplier": budget["noise_multiplier"],
        "mechanism.clip": budget["clip"],
        "mechanism.deviation": budget["noise_multiplier"] * budget["clip"],
        "mechanism.sample_rate": training["sample_rate"],
        "mechanism.steps_per_round": training["local_steps"],
        "mechanism.rounds_done": len(rounds),
        "mechanism.rounds": federation["rounds"],
        "mechanism.clients": federation["clients"],
        "mechanism.cohort": federation["cohort"] or federation["clients"],
        "mechanism.steps": max(json.loads(c["ledger"])[0][2] for c in clients),
        "mechanism.learning_rate": training["learning_rate"],
        "composition.clients": len({c["client"] for c in clients}),
        "composition.least": epsilon,
        "composition.most": epsilon,
        "composition.runs": 1,
        "composition.unbounded": 0,
        "composition.sum_epsilon": epsilon,
        "composition.sum_delta": delta,
        "trust.seen": sum(not c["failure"] for c in clients),
        "data.used": sum(own),
        "data.fewest": min(own),
        "data.held_out": int(held_out.sum()),
        "data.test": int(about["test_records"]),
        "data.clients": federation["clients"],
        "limits.failures": sum(bool(c["failure"]) for c in clients),
    }
    return told | of_audit(folder) | of_attacks(folder) | of_test(folder)


def of_audit(folder):
    if not (folder / "audit.json").exists():
        return {}
    audit = from_json((folder / "audit.json").read_text())
    bounds = {f"audit.bound.{b['name']}": b["epsilon"] for b in audit["bounds"]}
    return bounds | {"audit.claimed": audit["epsilon"], "audit.steps": audit["steps"]}


def of_attacks(folder):
    if not (folder / "leakage.json").exists():
        return {}
    leakage, told = from_json((folder / "leakage.json").read_text()), {}
    for name in WHO:
        one = leakage[name]
        if "chosen_on_shadows" in one:
            auc, tpr = (one["attacks"][one["chosen_on_shadows"][key]] for key in ("auc", "tpr"))
            tried = list(one["attacks"].values())
        else:
            auc = tpr = one[one["reported"]]
            tried = [auc]
        told[f"attacks.{name}.auc"] = auc["auc"]
        told[f"attacks.{name}.found"] = tpr["tpr_at_1_percent"]
        told[f"attacks.{name}.members"] = auc["members"]
        told[f"attacks.{name}.strangers"] = auc["non_members"]
        proven = [attack["epsilon"] for attack in tried if attack.get("epsilon") is not None]
        told |= {f"attacks.{name}.epsilon": max(proven)} if proven else {}
    told["attacks.gap"] = leakage["train_test_gap"]["gap"]
    told["attacks.inversion.p"] = leakage["inversion"]["p_nearer_than_strangers"]
    for name in ("malicious_client", "server"):
        told[f"attacks.generator_{name}.p"] = leakage["generators"][name]["p_own_victim_nearer"]
    return told


def of_test(folder):
    test = from_json((folder / "test.json").read_text())
    recalls = [(row["recall"]["value"], row["name"], row["recall"]) for row in test["classes"]]
    figures = {f"utility.figure.{name}": value for name, value in test["figures"].items()}
    worst = min(recalls, key=lambda one: one[:2])[2]
    return figures | {"utility.records": test["records"], "utility.worst": worst}


def flat(told):
    return {
        f"{part}.{key}": fact["value"]
        for part, about in from_json(to_json(told))["parts"].items()
        for key, fact in about["facts"].items()
    }


def ends(value):
    return [value[end] for end in ("value", "low", "high")] if isinstance(value, dict) else value


@pytest.fixture
def alone(made, tmp_path):
    """A run, whole, with nothing beside it."""
    return lambda name: Run.open(shutil.copytree(made / name, tmp_path / f"of-{name}" / name))


@pytest.mark.parametrize("name", ["whole", "bare"])
def test_every_number_is_found_again_in_the_run(alone, name):
    """All of them, and no other: 100 % of what is a number in the JSON."""
    run = alone(name)
    told = flat(read_statement(run))
    numbers = {k: v for k, v in told.items() if not isinstance(v, str | bool | None)}
    expected = found_again(run.path)
    assert numbers.keys() == expected.keys()
    for key, value in numbers.items():
        assert ends(value) == pytest.approx(ends(expected[key]), rel=1e-9), key


def test_texts_with_numbers_are_the_runs_own_and_prose_has_none(alone):
    run = alone("whole")
    told = read_statement(run)
    environment = (run.path / "environment.json").read_text()
    checks = {
        f"check.{c['name']}": c for c in json.loads((run.path / "audit.json").read_text())["checks"]
    }
    digests = {hashlib.sha256(p.read_bytes()).hexdigest() for p in run.path.rglob("*.*")}
    for part in told.parts:
        for words in (*part.words, part.question, part.title):
            for law in OF_LAW:
                words = words.replace(law, "")
            assert not re.search(r"\d", words), words
        for fact in part.facts:
            if fact.key in checks:
                assert checks[fact.key]["measured"] in fact.value
                assert checks[fact.key]["expected"] in fact.value
            elif fact.key.startswith("sha256."):
                assert fact.value in digests
            elif part.key == "versions" and fact.key != "identity":
                words = fact.value.replace(",", "").split()
                assert all(w in environment or w in ("Python", "cores") for w in words), fact
    files = [(run.path / name).read_text() for name in ("experiment.toml", "environment.json")]
    identity = hashlib.sha256("\0".join(["whole", *files]).encode()).hexdigest()[:16]
    assert flat(told)["versions.identity"] == identity


def test_all_forms_say_all_of_it(alone):
    told = read_statement(alone("whole"))
    page, markdown = Page(to_html(told)).words, to_markdown(told).replace("\\", "")
    for fact in (fact for part in told.parts for fact in part.facts):
        assert " ".join(fact.shown.split()) in page
        assert fact.shown in markdown


def test_what_is_missing_is_told_with_what_brings_it(alone):
    run = alone("bare")
    told = read_statement(run)
    gone = {f"{part.key}.{fact.key}": fact.remedy for part, fact in told.missing}
    assert gone["audit.passed"] == "privet audit bare"
    assert gone["attacks.membership"] == "privet attack bare"
    assert "--purpose" in gone["purpose.purpose"]
    assert "privet audit bare" in to_markdown(told).partition("## Purpose")[0]
    said = read_statement(run, "to count digits", "Ada & Sons")
    assert "purpose" not in {fact.key for _, fact in said.missing}
    assert "Ada &amp; Sons" in to_html(said)


def test_runs_on_the_same_records_add_up(folder):
    """Basic composition of those that promise the same unit; nothing bounds the others."""
    whole, bare, free = (Run.open(folder / name) for name in ("whole", "bare", "free"))
    both = flat(read_statement(whole, beside=[whole, bare]))
    spent = [run.rounds[-1].epsilon for run in (whole, bare)]
    assert both["composition.runs"] == 2
    assert both["composition.sum_epsilon"] == pytest.approx(sum(spent))
    assert both["composition.sum_delta"] == pytest.approx(2e-5)
    every = flat(read_statement(whole))
    assert every["composition.unbounded"] == 1
    assert every["composition.sum_epsilon"] is None
    nothing = {part.key: part for part in read_statement(free).parts}
    assert not nothing["odds"].facts
    assert "may tell all of any record" in " ".join(nothing["guarantee"].words)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (0.5, 1e-3), (3.0, 1e-5), (800, 0.1)])
def test_odds_are_those_of_the_worst_mechanism_that_keeps_the_promise(epsilon, delta):
    """Randomised response that tells all with probability delta attains them (Kairouz et al.)."""
    right = delta + (1 - delta) / (1 + math.exp(-epsilon))
    assert guesses(epsilon, delta) == pytest.approx(right, abs=1e-12)
    falsely = (1 - delta) * (1 - 1 / (1 + math.exp(-epsilon)))
    if falsely >= 0.01:  # it accuses one in a hundred on the straight line from nobody
        line = delta + (right - delta) * 0.01 / falsely
        assert found(epsilon, delta) == pytest.approx(line)
    assert 0.01 <= found(epsilon, delta) <= 1


def test_words_of_a_run_are_text_and_damage_is_told(folder):
    run = copy(folder / "whole", "hostile", environment=('"created"', '"begun"'))
    (run.path / "audit.json").write_text('{"passed": true')
    (run.path / "test.json").unlink()
    told = read_statement(run, HOSTILE)
    gone = {f"{part.key}.{fact.key}": fact.remedy for part, fact in told.missing}
    assert "audit.json cannot be read" in gone["audit.passed"]
    assert gone["utility.figures"] == "privet evaluate hostile"
    assert "environment.json" in gone["versions.created"]
    page = Page(to_html(told))
    assert not {"script", "img"} & set(page.tags)
    assert HOSTILE in page.words
    assert not re.search(r"(?<!\\)<", to_markdown(told))


def test_the_command_writes_what_the_functions_say(privet, tmp_path):
    out = tmp_path / "told.html"
    status, said, _ = privet("statement", "whole", "-o", str(out))
    assert (status, said.strip()) == (0, str(out))
    assert out.read_text().startswith("<!doctype html>")
    status, said, _ = privet("statement", "whole", "--format", "json", "--purpose", "a test")
    assert status == 0
    assert json.loads(said)["parts"]["purpose"]["facts"]["purpose"]["value"] == "a test"
    status, _, err = privet("statement", "nobody")
    assert (status, len(err.splitlines())) == (2, 1)
