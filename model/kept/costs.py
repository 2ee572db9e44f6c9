"""Step costs kept on disk: to ask the tables for all that one config may do takes a few tenths of a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from model.simulate.costs import Apart, StepCosts
from model.steps.tabulate import StepModel
from model.tables.library import Key
from model.tables.said import listening, say
from perfdb.facts.own import own_facts
from perfdb.kept import Arrays, as_text, from_text, kept, name_of

Told = tuple[StepCosts, Mapping[Key, str]]
"""Step costs, and what their tables say of them, as `Tables.warnings` has it."""
_OF_APART = "apart."


def kept_costs(steps: StepModel, most_tokens: int, most_seqs: int) -> Told:
    """`StepModel.costs`, and what its tables say of them; kept for the database that they are from.

    Nobody that listens hears it: whoever keeps the answer says it whenever it is asked for.
    """
    tables = steps.tables

    def make() -> Told:
        with listening() as said:
            costs = steps.costs(most_tokens, most_seqs)
        return costs, {key: text for key, text in tables.warnings.items() if text in said}

    if tables.identity is None:
        return make()
    shape = [getattr(steps, field.name) for field in fields(steps) if field.name != "tables"]
    asked = (tables.identity, tables.platform, tables.engine, tables.version, shape, most_tokens, most_seqs)
    told = kept(name_of("costs", asked, own_facts()), make, _arrays, _told)
    tables.warnings.update(told[1])
    return told


def say_of(told: Told) -> StepCosts:
    """The costs; whoever listens hears what the tables say of them."""
    costs, said = told
    say(said.values())
    return costs


def _arrays(told: Told) -> Arrays:
    costs, said = told
    parts = {name: value for name, value in costs._asdict().items() if name != "apart"}
    apart = {_OF_APART + name: value for name, value in costs.apart._asdict().items()}
    numbers = {name: np.asarray(value, dtype=np.float64) for name, value in (parts | apart).items()}
    return {**numbers, "said": as_text(list(said.items()))}


def _told(arrays: Arrays) -> Told:
    apart = Apart(**{name: arrays[_OF_APART + name] for name in Apart._fields})
    rows = {name: arrays[name] for name in StepCosts._fields if name not in {"step", "apart"}}
    said = {(op, dtype, cached): text for (op, dtype, cached), text in from_text(arrays["said"])}
    return StepCosts(**rows, step=arrays["step"].item(), apart=apart), said
