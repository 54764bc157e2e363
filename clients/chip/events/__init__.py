"""Chips that compute when a spike arrives: cost follows from what was counted, not from loops.

hardware    an event-driven chip as its TOML file says; the ready ones are in `chips/`
placement   layers on cores, and how far spikes travel between them
cost        counted events -> joules and seconds, record by record
"""

from clients.chip.events.cost import EventCost, LayerCost, LayerEvents, price
from clients.chip.events.hardware import (
    EventChip,
    is_event_chip,
    load_event_chip,
    ready_event_chips,
)

__all__ = [
    "EventChip",
    "EventCost",
    "LayerCost",
    "LayerEvents",
    "is_event_chip",
    "load_event_chip",
    "price",
    "ready_event_chips",
]
