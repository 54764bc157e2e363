"""A board in an emulator: exact instructions, flash that a power cut can tear, and no time.

The program's four port functions are breakpoints, which are answered here. Flash is memory that the
program can read and not write: it is programmed by the port alone, and bits only fall.
"""

import hashlib
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clients.firmware.contract import Contract
from clients.firmware.counting import NOWHERE, PHASES, Block, Tallies, Where, tallied
from clients.firmware.numbers.device import raw_of, reals_of
from privacy.errors import PrivetError

CODE, RAM, LEDGER, STACK = 0x08000000, 0x24000000, 0x08200000, 0x20000000
STACK_BYTES, PAINT = 1 << 16, 0xA5
BACK = 0x08FFF000  # where the last return goes
ASKED = RAM + (1 << 20)  # where inputs lie that the board is asked of
AREA = 1 << 22
RECORD = 32
FLUSH = 1 << 24  # of FPSCR
KEY = np.frombuffer(hashlib.sha256(b"privet export --check").digest(), "<u4")


class PowerCut(Exception):
    """The board lost its power: memory is gone, flash is as it is."""


class Symbol(NamedTuple):
    """Of an ELF file."""

    name: str
    address: int
    size: int


class Board:
    """A microcontroller with a program, and with flash that outlives it.

    Args:
        program: ELF.
        target: `m4` or `m7`.
        key: uint32 [8]: what the random generator gives.
        records: inputs int16 [N, inputs] and labels uint8 [N].
        flash: the two areas of a ledger that an earlier board has left; None is erased.
        counted: count instructions. `flush`: numbers below 2^-126 to zero, as a board's startup
            code might ask.

    Attributes:
        flash: the two areas.
        reads: records that were asked for.
        begun: numbers of the steps whose keystream was begun in this life.
    """

    def __init__(
        self,
        program: Path,
        target: str,
        contract: Contract,
        key: NDArray[np.uint32],
        records: tuple[NDArray[np.int16], NDArray[np.uint8]],
        flash: list[bytearray] | list[memoryview] | None = None,
        counted: bool = False,
        flush: bool = False,
    ) -> None:
        import unicorn as uc
        from unicorn import arm_const as arm

        self._uc, self._arm = uc, arm
        self._key, self._records = key, records
        self._contract = contract
        self.flash: list[bytearray] | list[memoryview] = flash or [
            bytearray(b"\xff" * contract.ledger_bytes) for _ in range(2)
        ]
        self._blocks, self._taken = Counter[Block](), Counter[Block]()
        self._where, self._before, self._next = NOWHERE, Block(0, 0, NOWHERE), 0
        self._fuse: int | None = None
        self._cut = False
        self.reads = 0
        self.begun: set[int] = set()
        self._image = program.read_bytes()
        self.symbols, self.flash_bytes, self.static_bytes = _read_elf(self._image)
        mu = uc.Uc(uc.UC_ARCH_ARM, uc.UC_MODE_THUMB | uc.UC_MODE_MCLASS)
        models = {"m4": arm.UC_CPU_ARM_CORTEX_M4, "m7": arm.UC_CPU_ARM_CORTEX_M7}
        mu.ctl_set_cpu_model(models[target])
        mu.mem_map(CODE, 1 << 21, uc.UC_PROT_READ | uc.UC_PROT_EXEC)
        mu.mem_map(LEDGER, 2 * AREA, uc.UC_PROT_READ)
        mu.mem_map(BACK, 0x1000, uc.UC_PROT_READ | uc.UC_PROT_EXEC)
        mu.mem_map(RAM, 1 << 21, uc.UC_PROT_READ | uc.UC_PROT_WRITE)
        mu.mem_map(STACK, STACK_BYTES, uc.UC_PROT_READ | uc.UC_PROT_WRITE)
        mu.mem_write(STACK, bytes([PAINT]) * STACK_BYTES)
        for kind, offset, _, place, size in _segments(self._image):
            if kind == 1 and size:
                mu.mem_write(place, self._image[offset : offset + size])
        for area in range(2):
            mu.mem_write(LEDGER + area * AREA, bytes(self.flash[area]))
        mu.reg_write(arm.UC_ARM_REG_FPEXC, 0x40000000)
        if flush:  # after a first instruction on floats, with which FPSCR begins anew
            mu.mem_write(BACK + 16, bytes.fromhex("b0ee400a"))  # vmov.f32 s0, s0
            mu.emu_start(BACK + 17, BACK + 20)
            mu.reg_write(arm.UC_ARM_REG_FPSCR, FLUSH)
        self._ports: dict[int, Callable[[list[int]], int]] = {
            self._at("port_record"): self._record,
            self._at("port_key"): self._give_key,
            self._at("port_ledger"): lambda r: LEDGER + r[0] * AREA,
            self._at("port_program"): self._program,
        }
        mu.hook_add(uc.UC_HOOK_INTR, self._breakpoint)
        if "stream_begin" in self.symbols:  # else it learns nothing
            begin = self._at("stream_begin")
            mu.hook_add(uc.UC_HOOK_CODE, self._begin, begin=begin, end=begin)
        self._functions = {s.address: s.name for s in self.symbols.values() if s.address < LEDGER}
        if counted:
            mu.hook_add(uc.UC_HOOK_BLOCK, self._count)
        self._mu: Any = mu

    # ---- what the program calls
    def _breakpoint(self, mu: Any, number: int, _: object) -> None:
        place = mu.reg_read(self._arm.UC_ARM_REG_PC)
        port = self._ports.get(place) or self._ports.get(place - 2)
        if port is None:
            mu.emu_stop()
            return
        names = (self._arm.UC_ARM_REG_R0, self._arm.UC_ARM_REG_R1, self._arm.UC_ARM_REG_R2)
        given = port([mu.reg_read(name) for name in names])
        mu.reg_write(names[0], given & 0xFFFFFFFF)
        mu.reg_write(self._arm.UC_ARM_REG_PC, mu.reg_read(self._arm.UC_ARM_REG_LR))

    def _record(self, r: list[int]) -> int:
        self.reads += 1
        inputs, labels = self._records
        self._mu.mem_write(r[1], inputs[r[0]].astype("<i2").tobytes())
        self._mu.mem_write(r[2], bytes([labels[r[0]]]))
        return 0

    def _give_key(self, r: list[int]) -> int:
        self._mu.mem_write(r[0], self._key.astype("<u4").tobytes())
        return 0

    def _program(self, r: list[int]) -> int:
        area, offset, bytes_ = r[0], r[1], bytes(self._mu.mem_read(r[2], RECORD))
        if self._fuse is not None:
            self._fuse -= 1
            if self._fuse < 0:  # torn: some of the bits that should fall have fallen
                mask = np.random.default_rng(offset).integers(0, 256, RECORD).tolist()
                bytes_ = bytes(b | m for b, m in zip(bytes_, mask, strict=True))
                self._cut = True
        held = self.flash[area]
        for i, byte in enumerate(bytes_):
            held[offset + i] &= byte
        self._mu.mem_write(LEDGER + area * AREA, bytes(held))
        if self._cut:
            self._mu.emu_stop()
        return 0

    def _begin(self, mu: Any, address: int, size: int, _: object) -> None:
        self.begun.add(mu.reg_read(self._arm.UC_ARM_REG_R2))

    # ---- what calls the program
    def call(self, name: str, *arguments: int, after: int = 0, torn: int | None = None) -> int:
        """Call a function of the program; returns its r0.

        Args:
            after: instructions until the power is cut; 0 is never.
            torn: cut it while this call's programming of that number is under way.

        Raises:
            PowerCut: it was.
            PrivetError: the program ran into what is no memory of its own.
        """
        arm, mu = self._arm, self._mu
        self._fuse, self._cut = torn, False
        self._prepare(*arguments)
        if after:
            mu.ctl_flush_tb()  # what was translated before would not be counted
        self._run(self._at(name), after)
        if self._cut or mu.reg_read(arm.UC_ARM_REG_PC) & ~1 != BACK:
            raise PowerCut
        found: int = mu.reg_read(arm.UC_ARM_REG_R0)
        return found

    def _prepare(self, *arguments: int) -> None:
        arm, mu = self._arm, self._mu
        mu.reg_write(arm.UC_ARM_REG_SP, STACK + STACK_BYTES)
        mu.reg_write(arm.UC_ARM_REG_LR, BACK | 1)
        for register, value in zip((arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R1), arguments, strict=False):
            mu.reg_write(register, value)

    def _run(self, place: int, most: int = 0) -> None:
        try:
            self._mu.emu_start(place | 1, BACK, count=most)
        except self._uc.UcError as error:
            place = self._mu.reg_read(self._arm.UC_ARM_REG_PC)
            raise PrivetError(f"the emulator, at {place:#x}: {error}") from None

    @property
    def raw(self) -> NDArray[np.uint32]:
        """All weights, bit by bit."""
        held = bytes(self._mu.mem_read(self._at("weights"), 4 * self._contract.num_weights))
        return np.frombuffer(held, "<u4").astype(np.uint32)

    @property
    def weights(self) -> NDArray[np.float32]:
        """What may leave: real numbers."""
        return reals_of(self._contract, self.raw)

    @weights.setter
    def weights(self, values: NDArray[np.float32]) -> None:
        self._mu.mem_write(self._at("weights"), raw_of(self._contract, values).tobytes())
        if self._contract.numbers is not None:
            self.call("project")

    def predict(self, inputs: NDArray[np.int16]) -> int:
        """The class of a record's inputs."""
        self._mu.mem_write(ASKED, inputs.astype("<i2").tobytes())
        return self.call("privet_predict", ASKED)

    def turn(self, raw: NDArray[np.generic]) -> NDArray[np.int16]:
        """What the front makes of a record: features int16."""
        held = raw.tobytes()
        made = ASKED + len(held) + len(held) % 2
        self._mu.mem_write(ASKED, held)
        self.call("privet_front", ASKED, made)
        told = bytes(self._mu.mem_read(made, 2 * self._contract.sizes[0]))
        return np.frombuffer(told, "<i2").astype(np.int16)

    @property
    def stack_bytes(self) -> int:
        """The deepest that the stack has been."""
        painted = np.frombuffer(bytes(self._mu.mem_read(STACK, STACK_BYTES)), np.uint8)
        return STACK_BYTES - int(np.argmax(painted != PAINT))

    # ---- counting
    def _count(self, mu: Any, address: int, size: int, _: object) -> None:
        if address != self._next:
            self._taken[self._before] += 1
        if (name := self._functions.get(address)) is not None:
            self._enter(name, mu.reg_read(self._arm.UC_ARM_REG_R0))
        self._before, self._next = Block(address, size, self._where), address + size
        self._blocks[self._before] += 1

    def _enter(self, name: str, first: int) -> None:
        if name in PHASES:
            self._where = Where(PHASES[name])
        table = self.symbols["LAYERS"]
        if 0 <= (offset := first - table.address) < table.size:  # the layer that it is given
            layer = offset * self._contract.num_layers // table.size
            self._where = Where(self._where.phase, layer)

    def counted(self) -> Tallies:
        """Instructions executed since the last call."""
        found = tallied(self._blocks, self._taken, self._functions, self._mu.mem_read)
        self._blocks.clear()
        self._taken.clear()
        return found

    def _at(self, name: str) -> int:
        return self.symbols[name].address


def _segments(image: bytes) -> list[tuple[int, int, int, int, int]]:
    (table,), (num,) = struct.unpack_from("<I", image, 28), struct.unpack_from("<H", image, 44)
    return [struct.unpack_from("<5I", image, table + 32 * i) for i in range(num)]


def _read_elf(image: bytes) -> tuple[dict[str, Symbol], int, int]:
    """Symbols by name, bytes of code and constants, and of static memory."""
    (table,), (num,) = struct.unpack_from("<I", image, 32), struct.unpack_from("<H", image, 48)
    sections = [struct.unpack_from("<10I", image, table + 40 * i) for i in range(num)]
    symbols: dict[str, Symbol] = {}
    for _, kind, _, _, offset, size, link, *_ in sections:
        if kind != 2:
            continue
        names = sections[link][4]
        for at in range(offset, offset + size, 16):
            name_at, value, length, info, _, where = struct.unpack_from("<IIIBBH", image, at)
            if not where or info & 15 > 2:
                continue
            name = image[names + name_at : image.index(b"\0", names + name_at)].decode()
            if name and not name.startswith("$"):
                symbols[name] = Symbol(name, value & ~1 if info & 15 == 2 else value, length)
    flash = sum(s[5] for s in sections if s[1] == 1 and s[2] & 2)
    static = sum(s[5] for s in sections if s[1] == 8 and s[2] & 2)
    return symbols, flash, static
