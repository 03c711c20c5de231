"""The labels of one data set in the classes of a net that was trained on another.

Each statement of the data set is linked to the classes that it says something about: ``exact`` where the class is its
own (its name, its superclass, or by the crosswalks the same in other words), ``broader`` where the crosswalks have the
two as near, but not as the same, and ``possible`` where a record with the statement may or may not have the class. A
record has a class if a statement that is linked exactly or broadly says so; if only a possible one does, nobody knows
(`UNKNOWN`). A class without an exact or a broad link cannot be scored there: it is unknown of every record.

A data set's own table of statements comes first; the crosswalks (`ecgcls.data.crosswalks`) say the rest. Where classes
are statements, a name of somebody's own, as a column ``af``, is taken for the statement or code that it names.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.data.crosswalks import describe_entries, find_entries, read_scp, read_snomed, suggest_entries
from ecgcls.data.tasks import UNKNOWN, Labels, Task
from ecgcls.errors import ConfigError, DataError

EXACT, BROADER, POSSIBLE = "exact", "broader", "possible"
_N_SHOWN = 8


@dataclass(frozen=True, eq=False)
class Translation:
    """Which statements of a data set say what about which classes.

    Attributes
    ----------
    class_names
        The classes of the net.
    links
        A row per class and statement: ``class``, ``statement``, ``relation``; a relation says enough unless it is
        ``possible``.
    taken_as
        What names of somebody's own, of classes or statements, were taken for: ``af`` for AFIB (atrial fibrillation).
    """

    class_names: tuple[str, ...]
    links: pd.DataFrame
    taken_as: Mapping[str, str] = field(default_factory=dict)

    @property
    def relations(self) -> dict[str, str]:
        """The closest relation of each class: ``exact``, ``broader`` or ``none``."""
        found = dict.fromkeys(self.class_names, "none")
        for relation in (BROADER, EXACT):
            found |= dict.fromkeys(self.links.loc[self.links["relation"] == relation, "class"], relation)
        return found

    def list_classes(self, relation: str) -> list[str]:
        """Return the classes whose closest relation is this one."""
        return [name for name, closest in self.relations.items() if closest == relation]

    def label(self, task: Task, scp_codes: pd.Series, statements: pd.Index) -> tuple[Labels, NDArray[np.bool_]]:
        """Label records; return also which of them take part, ``(record,)``.

        As in the run, those that have a class do, and those that the task keeps as negatives of all; so do those that
        may have one, which are negatives of the others: an ECG of which nothing but sinus rhythm is said may be normal,
        and any ECG may have a class that no statement there is about.

        Raises
        ------
        DataError
            If a record has a statement that is not among the data set's `statements`.
        """
        column = {name: position for position, name in enumerate(self.class_names)}
        linked: dict[str, list[tuple[int, bool]]] = {}
        for name, statement, relation in self.links.itertuples(index=False):
            linked.setdefault(statement, []).append((column[name], relation == POSSIBLE))
        y_true, may_have = np.zeros((len(scp_codes), len(column)), dtype=np.int8), np.zeros(len(scp_codes), dtype=bool)
        known = set(statements)
        for row, (ecg_id, codes) in enumerate(scp_codes.items()):
            for statement, likelihood in codes.items():
                if statement not in known:
                    raise DataError(f"ecg_id {ecg_id}: the data set's table of statements has no {statement!r}")
                says = task.read_likelihood(likelihood)
                for position, is_possible in linked.get(statement, ()):
                    may_have[row] |= is_possible and says == 1
                    label = UNKNOWN if is_possible and says else says
                    if label == 1 or y_true[row, position] == 0:
                        y_true[row, position] = label
        y_true[:, [column[name] for name in self.list_classes("none")]] = UNKNOWN
        may_have |= not {*self.class_names} <= {*self.links["class"]}
        labels = task.keep(y_true, self.class_names)
        has_one, is_known = (labels.y_true == 1).any(axis=1), (labels.y_true != UNKNOWN).any(axis=1)
        return labels, labels.has_label | (may_have & is_known & ~has_one)


def translate(task: Task, class_names: Sequence[str], statements: pd.DataFrame) -> Translation:
    """Link the statements of a data set (`ecgcls.data.source.Source.read_statements`) to the classes of a net.

    Raises
    ------
    ConfigError
        If none of the classes can be scored there.
    """
    snomed = read_snomed()
    codes = statements.index.intersection(snomed.index)
    if "possible_class" not in statements and len(codes):  # labels of one's own that are SNOMED CT codes
        shared = statements.columns.intersection(snomed.columns)
        statements = pd.concat([statements.drop(codes), snomed.loc[codes, shared]]).loc[statements.index]
    taken: list[str] = []
    if task.classes == "statement":
        found, taken = _link_statements(class_names, statements.index)
    else:
        found = [*_link_classes(task, statements), *_link_possible(task, class_names, statements.index)]
    links = pd.DataFrame(found, columns=["class", "statement", "relation"])
    links = links[links["class"].isin(class_names) & links["statement"].isin(statements.index)].drop_duplicates(
        ["class", "statement"], ignore_index=True
    )
    used = {*links["class"], *links["statement"]}
    translation = Translation(
        tuple(class_names), links, {name: describe_entries(name) for name in taken if name in used}
    )
    if len(translation.list_classes("none")) == len(class_names):
        raise ConfigError(
            f"data: none of the classes of the net ({_shorten(class_names)}) has a counterpart among the statements of "
            f"the data set ({_shorten(statements.index)}), so nothing can be scored there"
            f"{_suggest(class_names) if task.classes == 'statement' else ''}"
        )
    return translation


_Link = tuple[str, str, str]


def _link_names(class_names: Sequence[str], statements: pd.Index) -> Iterator[_Link]:
    """Link statements to the classes that are called the same."""
    yield from ((name, name, EXACT) for name in class_names if name in statements)


def _link_statements(class_names: Sequence[str], statements: pd.Index) -> tuple[list[_Link], list[str]]:
    """Link statements to classes by name, by what a name of somebody's own means, and by the crosswalks.

    Return the links, and the names of somebody's own that mean something.
    """
    known = {*read_scp().index, *read_snomed().index}
    own = [*dict.fromkeys(name for name in [*class_names, *statements] if name not in known and find_entries(name))]
    meant: dict[str, list[str]] = {}  # by entry, the statements
    for statement in statements:
        for entry in find_entries(statement) if statement in own else (statement,):
            meant.setdefault(entry, []).append(statement)
    found = list(_link_names(class_names, statements))
    for name in class_names:
        entries = find_entries(name) if name in own else (name,)
        words = [*_link_names(entries, pd.Index(meant)), *_link_words(entries)]
        found += [(name, each, relation) for _, entry, relation in words for each in meant.get(entry, ())]
    return sorted(found, key=lambda link: (EXACT, BROADER, POSSIBLE, "none").index(link[2])), own


def _link_words(class_names: Sequence[str]) -> Iterator[_Link]:
    """Link statements to classes that are statements of the other vocabulary."""
    snomed, scp = read_snomed(), read_scp()
    for name in class_names:
        if name in scp.index:  # a code says a statement as near as it is to it
            of_name = snomed[snomed["scp"] == name]
            yield from ((name, code, relation) for code, relation in _pair(of_name))
            own = scp.loc[name]
            unplaced = (snomed["relation"] == "none") & (snomed["diagnostic_class"] == own["diagnostic_class"])
            yield from ((name, code, POSSIBLE) for code in [own["snomed_code"], *snomed.index[unplaced]])
        elif name in snomed.index:  # the statement says the code, also where the code says less
            of_code = scp[scp["snomed_code"] == name]
            yield from ((name, each, relation) for each, relation in _pair(of_code))
            own = snomed.loc[name]
            yield name, str(own["scp"]), EXACT if own["relation"] == EXACT else POSSIBLE


def _link_classes(task: Task, statements: pd.DataFrame) -> Iterator[_Link]:
    """Link statements to the classes that the data set's own table, or the crosswalk, has them in."""
    relations: Mapping[str, str] = {}
    if task.classes == "challenge_class" and "challenge_class" not in statements:
        relations = dict(read_scp()["relation"])
    elif task.classes == "diagnostic_subclass":
        relations = {code: each for code, each in _pair(read_snomed()) if each == BROADER}
    for statement, name in task.class_of_statement(statements).items():
        yield name, statement, relations.get(statement, EXACT)


def _link_possible(task: Task, class_names: Sequence[str], statements: pd.Index) -> Iterator[_Link]:
    """Link SNOMED CT codes to the superclasses that they leave open, and to the subclasses of these and of their own.

    Of the Challenge's classes, a statement may have that of each code that is as near to it.
    """
    snomed, scp = read_snomed(), read_scp()
    if task.classes == "challenge_class":
        near = snomed[(snomed["relation"] == BROADER) & snomed["challenge_class"].notna()]
        yield from ((name, each, POSSIBLE) for name, each in zip(near["challenge_class"], near["scp"], strict=True))
        return
    superclass_of = dict(zip(scp["diagnostic_subclass"], scp["diagnostic_class"], strict=True))
    for code in statements.intersection(snomed.index):
        row = snomed.loc[code]
        is_unplaced = row["diagnostic_subclass"] == row["diagnostic_class"]
        possible = {*row["possible_class"].split(";"), *([row["diagnostic_class"]] if is_unplaced else [])}
        for name in class_names:
            superclass = name if task.classes == "diagnostic_class" else superclass_of.get(name)
            if name in possible or superclass in possible:
                yield name, code, POSSIBLE


def _pair(table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Return each statement of a crosswalk, and its relation."""
    return zip(table.index, table["relation"], strict=True)


def _suggest(class_names: Sequence[str]) -> str:
    near = [f"{name}: {' or '.join(each)}" for name in class_names[:_N_SHOWN] if (each := suggest_entries(name))]
    return (
        "; train with labels called as an SCP statement (AFIB), the Challenge's abbreviation (AF), its full name "
        f"or a SNOMED CT code{'; near ' * bool(near)}{', '.join(near)}"
    )


def _shorten(names: Iterable[str]) -> str:
    every = list(map(str, names))
    return ", ".join(every[:_N_SHOWN]) + ", ..." * (len(every) > _N_SHOWN)
