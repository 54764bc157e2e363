"""Chips: what a device is made of, from `chips/*.toml`. A user adds a chip by adding a file."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from privacy.errors import SettingsError
from privacy.files import is_file
from privacy.settings import Section, parse, read_toml, suggest

READY = Path(__file__).parent / "chips"
EVENTS = Path(__file__).parent / "events" / "chips"

Dataflow = Literal[
    "row-stationary",
    "weight-stationary",
    "output-stationary",
    "input-stationary",
    "multiplexed",
    "microcontroller",
    "stochastic",
    "crossbar",
]


def _none_or_some(value: float) -> float:
    if 0 < value < LEAST:
        raise ValueError(f"must be 0 or at least {LEAST:g}")
    return value


# Wider than any chip, and narrow enough that no figure of any network overflows, or is no number.
LEAST, MOST = 1e-12, 1e18
Amount = Annotated[float, Field(ge=LEAST, le=MOST)]
AmountOrNone = Annotated[float, Field(ge=0, le=MOST), AfterValidator(_none_or_some)]
Count = Annotated[int, Field(ge=1, le=2**48)]
CountOrNone = Annotated[int, Field(ge=0, le=2**48)]


class Constant(Section):
    """An energy, and where it is from.

    Attributes:
        pj: picojoules for one event.
        source: publication, or how it was derived.
    """

    pj: AmountOrNone
    source: str = Field(min_length=8)


class Energy(Section):
    """[energy]: of one event. A word has `word_bits`; fewer bits cost in proportion.

    Attributes:
        mac: multiply-accumulate of two words; fixed point scales with the product of the widths.
        float_mac: of two 32-bit floats; absent where there is no floating-point unit.
        scratchpad: a word read or written beside the datapath.
        network: a word delivered to one processing element, or passed to a neighbour.
        buffer: a word read or written in the on-chip buffer.
        dram: a word read or written off the chip.
        lane: an element-wise operation.
        gaussian: a normal variate drawn.
        generator: a bit of a stochastic stream made. `bit_product`: of two streams' bits.
            `counter`: a bit counted.
        adc, dac: a conversion. `cell`: a crossbar column's cell read. `cell_write`: a cell written.
        static_w: watts whenever the chip is on.
    """

    mac: Constant
    float_mac: Constant | None = None
    scratchpad: Constant
    network: Constant
    buffer: Constant
    dram: Constant
    lane: Constant
    gaussian: Constant
    generator: Constant | None = None
    bit_product: Constant | None = None
    counter: Constant | None = None
    adc: Constant | None = None
    dac: Constant | None = None
    cell: Constant | None = None
    cell_write: Constant | None = None
    static_w: AmountOrNone = 0.0


class Array(Section):
    """[array]: the processing elements.

    Attributes:
        lanes: element-wise operations a cycle.
        gaussians_per_cycle: of the noise generator.
        vector_bits: width of a multiplexed element's datapath, which narrower operands share.
        skips: operands whose zeros take no cycle (Cnvlutin: activations; Cambricon-X: weights;
            ZASCA: activations, and packed in memory).
        gates: zeros take a cycle but no energy in the multiplier (Eyeriss).
        compresses: activations are packed in DRAM: run-length coded (Eyeriss, ZASCA).
        group: elements that wait for one another where zeros are skipped.
    """

    rows: Count
    columns: Count
    lanes: Count = 1
    gaussians_per_cycle: Amount = 1.0
    vector_bits: CountOrNone = 0
    skips: Literal["none", "activations", "weights", "both"] = "none"
    gates: bool = False
    compresses: bool = False
    group: Count = 1

    @property
    def elements(self) -> int:
        """Processing elements."""
        return self.rows * self.columns


class Memory(Section):
    """[memory]: buffer and DRAM.

    Attributes:
        buffer_bytes: for inputs and partial sums. Of a microcontroller: its SRAM.
        weight_buffer_bytes: for weights, where they have one of their own. bank_bytes: the buffer
        is given out in banks of this size. buffer_words_per_cycle: words that the buffer moves in a
        cycle, each direction; 0 is no limit. dram_bytes_per_s: 0 where there is no DRAM.
        dram_bytes: capacity; 0 is no limit. Of a microcontroller: its flash. stores_padding: padded
        inputs are stored with their zeros. drains_alone: outputs go to DRAM while the array waits.
    """

    buffer_bytes: Count
    weight_buffer_bytes: CountOrNone = 0
    bank_bytes: Count = 1
    buffer_words_per_cycle: AmountOrNone = 0.0
    dram_bytes_per_s: AmountOrNone = 0.0
    dram_bytes: CountOrNone = 0
    stores_padding: bool = False
    drains_alone: bool = False


class Scratchpads(Section):
    """[scratchpads]: of a row-stationary element, and the buses that feed the array.

    Attributes:
        input_words, weight_words, sum_words: of each element's scratchpads.
        input_bus, weight_bus, sum_bus: words a cycle from the buffer (sums: in each direction).
        images: of a pass, at most (n).
    """

    input_words: Count
    weight_words: Count
    sum_words: Count
    input_bus: Amount
    weight_bus: Amount
    sum_bus: Amount
    images: int = Field(default=4, ge=1, le=64)


class Microcontroller(Section):
    """[microcontroller]: cycles of a kernel library, by class of operation.

    Attributes:
        pointwise, depthwise, convolution, dense: cycles a multiply-accumulate of 8 bits.
        element: cycles an element of pooling, addition and the like.
        float_mac: cycles a multiply-accumulate of floats. `gaussian`: a normal variate.
        runtime_bytes: SRAM that the runtime holds beside the arena of tensors.
        core: the Cortex-M that can be emulated; empty is another. `source`: of all these.
    """

    pointwise: Amount
    depthwise: Amount
    convolution: Amount
    dense: Amount
    element: AmountOrNone
    float_mac: Amount
    gaussian: Amount
    runtime_bytes: CountOrNone
    core: Literal["", "m4", "m7"] = ""
    source: str = Field(min_length=8)


class Stochastic(Section):
    """[stochastic]: a stochastic-computing engine. Rows of the array sum, columns are outputs.

    Attributes:
        bits_per_cycle: bits of each stream computed in a cycle.
        levels: largest integer that a stream's digit stands for: 1 for bits, m of integral
            stochastic computing (Ardakani et al. 2017).
        shares_generators: one random source for all streams of a kind.
    """

    bits_per_cycle: Count = 1
    levels: Count = 1
    shares_generators: bool = True


class Crossbar(Section):
    """[crossbar]: in-memory computing (ISAAC: Shafiee et al., ISCA 2016).

    Attributes:
        rows, columns: of one crossbar; the array's elements are crossbars.
        cell_bits: of a weight held by one cell.
        dac_bits: of an input fed in one read.
        read_s: one read of a crossbar, conversions included. `write_s`: one row written.
    """

    rows: Count
    columns: Count
    cell_bits: Count
    dac_bits: Count
    read_s: Amount
    write_s: Amount


class Radio(Section):
    """[radio]: what carries updates.

    Attributes:
        upload_bits_per_s, download_bits_per_s: after coding.
        upload_nj_per_bit, download_nj_per_bit: of the device's radio.
        source: of these.
    """

    upload_bits_per_s: Amount
    download_bits_per_s: Amount
    upload_nj_per_bit: AmountOrNone
    download_nj_per_bit: AmountOrNone
    source: str = Field(min_length=8)


class Chip(Section):
    """A chip file.

    Attributes:
        title: one line.
        dataflow: how work is laid on it.
        clock_hz: of the array.
        word_bits: of its operands. Wider ones take several passes, narrower ones occupy a word on
            the chip (except where `vector_bits` packs them) and are packed in DRAM.
        sum_bits: of partial sums.
        kinds: arithmetics that it computes.
    """

    title: str = Field(min_length=1)
    dataflow: Dataflow
    clock_hz: Amount
    word_bits: int = Field(ge=1, le=64)
    sum_bits: int = Field(ge=1, le=64)
    kinds: tuple[Literal["float", "fixed", "ternary", "binary", "stochastic"], ...] = Field(
        strict=False, min_length=1
    )
    array: Array
    memory: Memory
    energy: Energy
    radio: Radio
    scratchpads: Scratchpads | None = None
    microcontroller: Microcontroller | None = None
    stochastic: Stochastic | None = None
    crossbar: Crossbar | None = None

    @model_validator(mode="after")
    def _has_its_parts(self) -> "Chip":
        part = {"row-stationary": "scratchpads"}.get(self.dataflow, self.dataflow)
        if part in Chip.model_fields and getattr(self, part) is None:
            raise ValueError(f"dataflow = {self.dataflow!r} needs a section [{part}]; add it")
        needed = {
            "stochastic": ("generator", "bit_product", "counter"),
            "crossbar": ("adc", "dac", "cell", "cell_write"),
        }.get(self.dataflow, ())
        missing = [name for name in needed if getattr(self.energy, name) is None]
        if missing:
            raise ValueError(
                f"dataflow = {self.dataflow!r} needs [energy] {', '.join(missing)}; add it"
            )
        streams = self.dataflow == "stochastic"
        if ("stochastic" in self.kinds) != streams or (streams and len(self.kinds) > 1):
            raise ValueError(
                "dataflow = 'stochastic' and kinds = ['stochastic'] belong together: it computes "
                "streams and nothing else, and no other dataflow does"
            )
        if "float" in self.kinds and self.energy.float_mac is None:
            raise ValueError("kinds with 'float' need [energy] float_mac; add it")
        if self.dataflow == "multiplexed" and self.array.vector_bits < self.word_bits:
            raise ValueError("dataflow = 'multiplexed' needs [array] vector_bits of a word or more")
        return self

    def __hash__(self) -> int:
        return id(self)  # one object a file; a cached estimate must not walk its sections

    def __eq__(self, other: object) -> bool:
        return self is other


def load_chip(name: str) -> Chip:
    """A chip by its name in `clients/chip/chips/`, or by the path of a TOML file.

    Raises:
        SettingsError: no such chip, or something wrong in its file: one line for each.
    """
    return _load(path := chip_path(name), path.stat().st_mtime_ns)


def chip_path(name: str, ready: Path = READY) -> Path:
    """Where a chip's file is: a TOML file, or that of a ready chip.

    Raises:
        SettingsError: nowhere.
    """
    path = Path(name) if name.endswith(".toml") else ready / f"{name}.toml"
    if is_file(path):
        return path
    if name.endswith(".toml"):
        raise SettingsError(f"{name}: no such file")
    if is_file(EVENTS / f"{name}.toml"):
        raise SettingsError(
            f"--chip {name}: driven by events, it prices spikes that were counted in a run: "
            f"privet cost RUN --chip {name}"
        )
    raise SettingsError(f"--chip {name}: no such chip{suggest(name, ready_chips())}")


@lru_cache(maxsize=64)
def _load(path: Path, modified_ns: int) -> Chip:
    return parse(Chip, read_toml(path), path.name)


def ready_chips() -> list[str]:
    """Names of the chips that come with privet."""
    return sorted(path.stem for path in READY.glob("*.toml"))
