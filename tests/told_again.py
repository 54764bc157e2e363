"""What the files of a run say of each number of a statement on it, by another reader than privet's.

numbers  values: "part.key" -> it, copied from a key or recomputed
texts    values that are text with numbers in it, as the file has it that each is copied from
inside   the numbers in what privet says in words of its own
names    what facts are called, where a number is in it
"""

import hashlib
import json
import math
import tomllib
from functools import cache

from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from safetensors import safe_open
from safetensors.numpy import load_file

from privacy.documents import from_json
from privacy.dp.accounting.spent import TOTAL_VARIATION

OF_CLASSES = ("recall", "precision", "F1", "AUROC", "average precision")
WHO = ("final_model", "all_rounds", "server", "secure_sum", "malicious_client")
WIDE = 1e-3  # of the other accountant's losses: a hundredth of epsilon is told apart


def document(folder, name):
    path = folder / name
    return from_json(path.read_text()) if path.exists() else {}


def settings(folder):
    return tomllib.loads((folder / "experiment.toml").read_text())


def rounds(folder):
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def about(folder):
    with safe_open(folder / "manifest.safetensors", "numpy") as file:
        return file.metadata()


@cache
def plain(ledger, delta):
    """Epsilon of Poisson-subsampled Gaussian steps, by an accountant that privet does not use."""
    accountant = PLDAccountant(value_discretization_interval=WIDE)
    for sigma, rate, steps in json.loads(ledger):
        step = dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(sigma))
        accountant.compose(dp_event.SelfComposedDpEvent(step, steps))
    return accountant.get_epsilon(delta)


def shares_noise(toml):
    """Do devices add the noise of a client's promise, behind a sum that nobody opens?"""
    hidden = toml["federation"]["secure_aggregation"] != "none"
    return hidden and toml["budget"]["unit"] == "client"


class Charged:
    """What the last ledgers of a run come to."""

    def __init__(self, folder):
        toml, told = settings(folder), rounds(folder)
        self.private = toml["budget"]["unit"] != "none"
        self.delta = toml["budget"]["delta"]
        last = {c["client"]: c["ledger"] for record in told for c in record["clients"]}
        self.ledgers = [json.loads(ledger) for ledger in last.values() if ledger] * self.private
        # A shared sum's noise is discrete, under an accountant of its own, which is no tighter.
        self.slack = 0.3 if shares_noise(toml) else 0.02
        self.alone = told[-1]["epsilon"]  # as the last round has it
        self.whole = max(self.alone or 0.0, document(folder, "charge.json").get("epsilon", 0.0))

    def require(self, epsilon, entries):
        """No less than by the other accountant, and hardly more."""
        least = plain(json.dumps(entries), self.delta)
        assert 0.995 * least <= epsilon <= (1 + self.slack) * least, (epsilon, least)

    @property
    def steps(self):
        return max((sum(entry[2] for entry in ledger) for ledger in self.ledgers), default=0)


def numbers(folder):
    """Every value that is a number: "part.key" -> it, from the files alone."""
    toml, told = settings(folder), rounds(folder)
    budget, training, federation = toml["budget"], toml["training"], toml["federation"]
    manifest = load_file(folder / "manifest.safetensors")
    owner, held_out = manifest["owner"], manifest["held_out"].astype(bool)
    own = [int(((owner == n) & ~held_out).sum()) for n in range(federation["clients"])]
    clients = [c for record in told for c in record["clients"]]
    charged = Charged(folder)
    found = {
        "composition.runs": 1,
        "composition.unbounded": int(not charged.private),
        "trust.seen": sum(
            record["secure"]["single_updates"]
            if record["secure"]
            else sum(not c["failure"] for c in record["clients"])
            for record in told
        ),
        "data.clients": federation["clients"],
        "limits.failures": sum(bool(c["failure"]) for c in clients),
    }
    if "test_records" in about(folder):
        found["data.test"] = int(about(folder)["test_records"])
    if any(own):
        kept = int((held_out & (owner >= 0)).sum())
        found |= {"data.used": sum(own), "data.fewest": min(own), "data.held_out": kept}
    if charged.private:
        record = budget["unit"] == "record"
        found |= clipped(budget, told)
        found |= {
            "mechanism.noise_multiplier": budget["noise_multiplier"],
            "mechanism.clip": budget["clip"],
            "mechanism.sample_rate": training["sample_rate"] if record else 1.0,
            "mechanism.steps_per_round": training["local_steps"] if record else 1,
            "mechanism.rounds_done": len(told),
            "mechanism.rounds": federation["rounds"],
            "mechanism.clients": federation["clients"],
            "mechanism.cohort": federation["cohort"] or federation["clients"],
            "mechanism.steps": charged.steps,
            "mechanism.learning_rate": training["learning_rate"],
        }
        found |= promised(folder, charged, found)
    return found | of_audit(folder) | of_attacks(folder) | of_test(folder)


def clipped(budget, told):
    """The noise of a sum, at least; of a clip that follows, where it went, and the count's."""
    z, quantile = budget["noise_multiplier"], budget.get("clip_quantile", 0)
    if not quantile:
        return {"mechanism.deviation": z * budget["clip"]}
    clips, due = [record["clipping"]["clip"] for record in told], budget["clip"]
    for clip, record in zip(clips, told, strict=True):
        assert math.isclose(clip, due, rel_tol=1e-12), "a clip that does not follow"
        off = min(1, max(0, record["clipping"]["share"])) - quantile
        due = min(1e6, max(1e-6, clip * math.exp(-budget["clip_rate"] * off)))
    of_one = max(quantile, 1 - quantile)  # what a client moves of a count of votes
    of_count = 10 * z * of_one  # a hundredth of what the round costs
    of_sum = (z**-2 - (of_one / of_count) ** 2) ** -0.5
    return {
        "mechanism.clip_quantile": quantile,
        "mechanism.clip_rate": budget["clip_rate"],
        "mechanism.clip_least": min(clips),
        "mechanism.clip_most": max(clips),
        "mechanism.clip_last": clips[-1],
        "mechanism.sum_multiplier": of_sum,
        "mechanism.count_deviation": of_count,
        "mechanism.deviation": of_sum * min(clips),
    }


def promised(folder, charged, found):
    """Epsilon and what follows from it."""
    budget, whole, delta = settings(folder)["budget"], charged.whole, charged.delta
    rate, each = found["mechanism.sample_rate"], found["mechanism.steps_per_round"]
    always = [[budget["noise_multiplier"], rate, each * found["mechanism.rounds"]]]
    spent = {json.dumps(ledger) for ledger in charged.ledgers}
    assert len(spent) == 1, "a kind of run that this reader does not know yet"
    charged.require(charged.alone, charged.ledgers[0])
    full = charged.alone if always == charged.ledgers[0] else plain(json.dumps(always), delta)
    target = budget.get("epsilon")
    if (folder / "charge.json").exists():
        target = whole
    return ({} if target is None else {"guarantee.epsilon_promised": target}) | {
        "guarantee.epsilon_spent": whole,
        "guarantee.epsilon_full": full,
        "guarantee.delta": delta,
        "odds.factor": math.exp(whole),
        "odds.guess": (math.exp(whole) + delta) / (1 + math.exp(whole)),
        "odds.found": min(0.01 * math.exp(whole) + delta, 1 - (1 - delta - 0.01) / math.exp(whole)),
        "composition.clients": len(charged.ledgers),
        "composition.least": charged.alone,
        "composition.most": charged.alone,
        "composition.sum_epsilon": whole,
        "composition.sum_delta": delta,
    }


def of_audit(folder):
    audit = document(folder, "audit.json")
    if not audit:
        return {}
    bounds = {f"audit.bound.{b['name']}": b["epsilon"] for b in audit["bounds"]}
    return bounds | {"audit.claimed": audit["epsilon"], "audit.steps": audit["steps"]}


def of_attacks(folder):
    leakage, told = document(folder, "leakage.json"), {}
    for name in WHO:
        one = leakage.get(name, {"left_out": ""})
        if "left_out" in one:
            continue
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
    if "gap" in leakage.get("train_test_gap", {}):
        told["attacks.gap"] = leakage["train_test_gap"]["gap"]
    if "auc" in leakage.get("final_model", {}).get("persons", {}):
        told["attacks.persons"] = leakage["final_model"]["persons"]["auc"]
    hidden = leakage.get("attributes", {})
    if "columns" in hidden:
        told["attacks.hidden.all, on the mean"] = hidden["of_membership"]
        for column, one in hidden["columns"].items():
            told[f"attacks.hidden.{column}"] = one["of_membership"]
    for name in ("inversion", "inversion_of_features"):
        if "p_nearer_than_strangers" in leakage.get(name, {}):
            told[f"attacks.{name}.p"] = leakage[name]["p_nearer_than_strangers"]
    for name, one in leakage.get("generators", {}).items():
        if isinstance(one, dict) and "p_own_victim_nearer" in one:
            told[f"attacks.generator_{name}.p"] = one["p_own_victim_nearer"]
    return told


def worst_of(folder):
    """(recall or the like, its value, the class), of the class that is told least well."""
    rows = []
    for row in document(folder, "test.json").get("classes", ()):
        first = next(figure for figure in OF_CLASSES if figure in row)
        rows += [(first, row[first], row["name"])] * (row[first] is not None)
    return min(rows, key=lambda one: (one[1]["value"], one[2]), default=None)


def of_test(folder):
    test, worst = document(folder, "test.json"), worst_of(folder)
    if not test:
        return {}
    figures = {f"utility.figure.{name}": v for name, v in test["figures"].items() if v is not None}
    found = figures | {"utility.records": test["records"]}
    return found | ({"utility.worst": worst[1]} if worst else {})


def arithmetic(told):
    """As a person would say it."""
    more = {"fixed": f", {told['bits']} bit", "stochastic": f", L = {told['stream_length']}"}
    return told["name"] + more.get(told["name"], "")


def texts(folder):
    """Values that are texts with numbers, each as the file has it that it was copied from."""
    toml, told = settings(folder), document(folder, "environment.json")
    files = [(folder / name).read_text() for name in ("experiment.toml", "environment.json")]
    identity = hashlib.sha256("\0".join([folder.name, *files]).encode()).hexdigest()
    found = {
        "purpose.title": toml["title"],
        "purpose.model": toml["model"]["name"],
        "purpose.arithmetic": arithmetic(toml["arithmetic"]),
        "data.dataset": toml["data"]["name"],
        "data.digest": about(folder).get("sha256"),
        "versions.created": told["created"],
        "versions.command": " ".join(told["command"]),
        "versions.machine": f"{told['platform']}, {told['cores']} cores, Python {told['python']}",
        "versions.code": told["code"],
        "versions.identity": identity[:16],
    }
    found |= {f"versions.version.{name}": version for name, version in told["versions"].items()}
    for path in folder.rglob("*.*"):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found[f"versions.sha256.{path.relative_to(folder)}"] = digest
    audit = document(folder, "audit.json")
    for check in audit.get("checks", ()):
        verdict = "passed" if check["passed"] else "FAILED"
        said = f"{verdict}: {check['measured']}; should be: {check['expected']}"
        found[f"audit.check.{check['name']}"] = said
    for n, one in enumerate(audit.get("not_examined", ())):
        found[f"limits.not_examined.{n}"] = one
    if (folder / "charge.json").exists():
        found["guarantee.searched"] = document(folder, "charge.json")["said"]
    return found


def inside(folder):
    """The numbers in values that are texts of privet's own, in order."""
    toml = settings(folder)
    federation, secure, delta = toml["federation"], toml["secure"], toml["budget"]["delta"]
    draws = float(f"{2.0**80 * TOTAL_VARIATION:.0e}")
    all_take_part = toml["budget"]["unit"] == "client" or "learning" in toml
    survivors = secure["survivors"] * (federation["cohort"] or federation["clients"])
    honest = max(math.ceil(survivors - 1e-9), 3) - secure["dishonest"]
    fewest = numbers(folder).get("data.fewest", toml["data"]["nominal_records"])
    protected = federation["clients"] if toml["budget"]["unit"] == "client" else fewest
    large = [[delta, 1, protected, 1, protected]] * (delta * protected >= 1)
    warnings = large + of_persons(toml, int(about(folder).get("most_of_a_person") or 0))
    return {
        "mechanism.sampling": [1.0] * all_take_part + [draws],
        "trust.who": [honest] * shares_noise(toml),
    } | {f"guarantee.warning.{n}": told for n, told in enumerate(warnings)}


def of_persons(toml, most):
    """The numbers of the warning that a record is less than a person, who has so many of them."""
    data, budget = toml["data"], toml["budget"]
    length, step = data["windows"]["length"], data["windows"]["step"]
    if budget["unit"] != "record" or not (data["person"] or length):
        return []
    rate = data.get("schema", {}).get("rate_hz") or 1
    window = [float(f"{length / rate:.3g}")] * bool(length)
    times = math.ceil(length / step)
    each = [most] * (1 + ("epsilon" in budget)) * (bool(data["person"]) and most > 1)
    return [window + each + [times, times] * (times > 1 and most != 1)]


def names(folder):
    """What facts are called, where a number is in it."""
    audit, worst = document(folder, "audit.json"), worst_of(folder)
    found = {
        f"audit.bound.{b['name']}": f"epsilon, at least, by {b['name']} ({b['assumes']}); 95 % "
        "confidence"
        for b in audit.get("bounds", ())
    }
    found |= {f"audit.check.{c['name']}": c["name"] for c in audit.get("checks", ())}
    if worst:
        found["utility.worst"] = f"{worst[0]} of the worst class, {worst[2]}"
    last = f"rounds/{len(rounds(folder)):03d}.safetensors"
    return found | {f"versions.sha256.{last}": f"SHA-256 of {last}"}
