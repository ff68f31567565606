"""Turns results into a table for the terminal, reStructuredText or JSON."""

import os
import platform
import statistics
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from . import loops
from .registry import Measure, Row
from .runner import Cell, Results

Reduce = Callable[[Measure, Sequence[float]], float]

BUILD_OPTIONS = (
    "--enable-optimizations",
    "--with-lto",
    "--enable-shared",
    "--with-pydebug",
    "--disable-gil",
)


LESS = " (of µs and bytes, less is better)"


def _best(measure: Measure, values: Iterable[float]) -> float:
    return min(values) if measure.less_is_better else max(values)


REDUCE: dict[str, Reduce] = {
    "best": _best,
    "median": lambda measure, values: statistics.median(values),
}


@dataclass(frozen=True)
class Figure:
    """What a table shows of one row on one loop."""

    loop: str
    value: float | None  #: in the measure's unit; None if there is none
    ratio: float | None  #: see Measure.against; None if not known
    best_peer: bool = False
    unsupported: bool = False


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    row: Row
    measure: Measure
    figures: tuple[Figure, ...]
    lost: bool  #: we were measured together with peers, and are not the first


def environment(names: Iterable[str]) -> dict[str, str]:
    """Return what a reader has to know of the machine and the versions."""
    python = [platform.python_version(), platform.python_compiler(), *_build_options()]
    return {
        "Python": ", ".join(python),
        "CPU": f"{os.cpu_count()} x {_cpu_model()}",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "Loops": ", ".join(f"{name} {loops.version(name)}" for name in names),
    }


def _build_options() -> list[str]:
    """Return those of Python's build options that decide how fast it is."""
    given = (sysconfig.get_config_var("CONFIG_ARGS") or "").replace("'", " ").split()
    return [option for option in BUILD_OPTIONS if option in given]


def _cpu_model() -> str:
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def lines(
    rows: Iterable[Row], names: Sequence[str], results: Results, how: str
) -> list[Line]:
    """Reduce the results to a line for each row and measure.

    *how* is a key of REDUCE.
    """
    return [
        _line(
            row,
            measure,
            {name: results[row.key, name] for name in row.subjects(names)},
            REDUCE[how],
        )
        for row in rows
        for measure in row.measures
    ]


def _line(row: Row, measure: Measure, cells: dict[str, Cell], reduce: Reduce) -> Line:
    values = {
        name: reduce(measure, cell.figures(measure)) if cell.error is None else None
        for name, cell in cells.items()
    }
    others = {
        name: value
        for name, value in values.items()
        if name != loops.OURS and value is not None
    }
    peers = {name: value for name, value in others.items() if name != loops.LIMIT}
    first = _best(measure, peers.values()) if peers else None
    best_peer = next((name for name in peers if peers[name] == first), None)
    ours = values.get(loops.OURS)
    figures = tuple(
        Figure(
            name,
            value,
            _ratio(measure, name, values),
            name == best_peer,
            cells[name].unsupported,
        )
        for name, value in values.items()
    )
    lost = (
        loops.OURS in values
        and first is not None
        and (ours is None or _best(measure, (first, ours)) != ours)
    )
    return Line(row, measure, figures, lost)


def _ratio(
    measure: Measure, name: str, values: dict[str, float | None]
) -> float | None:
    """Return the ratio that goes with a loop's value, if there is one."""
    value, other = values[name], values.get(measure.against)
    if name == measure.against or not value or not other:
        return None
    return other / value if measure.against == loops.OURS else value / other


def _caption(line: Line, rounds: int, how: str) -> str:
    thousand = "thousand " if line.measure.thousands else ""
    text = f"{line.row.group}: {thousand}{line.measure.unit}"
    return text if rounds == 1 else f"{text}, {how} of {rounds} rounds"


def _tables(lines: Iterable[Line]) -> list[list[Line]]:
    """Return the lines of each table: of one group and one measure."""
    tables: dict[tuple[str, Measure], list[Line]] = {}
    for line in lines:
        if line.measure.in_tables:
            tables.setdefault((line.row.group, line.measure), []).append(line)
    return list(tables.values())


def _value(line: Line, figure: Figure) -> str:
    if figure.value is None:
        return "none" if figure.unsupported else "error"
    value = figure.value / 1000 if line.measure.thousands else figure.value
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _errors(results: Results) -> list[str]:
    return [
        f"{key} on {name}: {cell.error}"
        for (key, name), cell in results.items()
        if cell.error is not None and not cell.unsupported
    ]


def _note(tables: Iterable[Sequence[Line]]) -> str:
    """Return what is to be known of the ratios."""
    notes = {}
    for line, *_ in tables:
        against = line.measure.against
        if against == loops.OURS:
            notes[against] = f"{against}'s figure divided by that of the loop"
        else:
            notes[against] = (
                f"in {line.row.group} the loop's figure divided by {against}'s"
            )
    less = any(table[0].measure.less_is_better for table in tables)
    return ", ".join(notes.values()) + (LESS if less else "")


def text(
    env: dict[str, str], table: Sequence[Line], results: Results, rounds: int, how: str
) -> str:
    """Return the report for a terminal."""
    out = [f"{key + ':':8} {value}" for key, value in env.items()]
    tables = _tables(table)
    for grouped in tables:
        out += ["", _caption(grouped[0], rounds, how)]
        header = ["", *(figure.loop for figure in grouped[0].figures), ""]
        body = [
            [
                line.row.name,
                *(_text_cell(line, figure) for figure in line.figures),
                "lost" if line.lost else "",
            ]
            for line in grouped
        ]
        out += _aligned([header, *body])
    out += [
        "",
        f"x.xx: {_note(tables)}; "
        f"*: the best of the others; lost: {loops.OURS} is not first",
        *_errors(results),
    ]
    return "\n".join(out) + "\n"


def _text_cell(line: Line, figure: Figure) -> str:
    value = _value(line, figure)
    if figure.loop == line.measure.against == loops.OURS:
        return value
    # Blanks where there is no ratio or no star keep the figures in line.
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    return f"{value}{ratio:>6}{'*' if figure.best_peer else ' '}"


def _aligned(cells: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def rst(
    env: dict[str, str], table: Sequence[Line], results: Results, rounds: int, how: str
) -> str:
    """Return the report in reStructuredText, without a section title."""
    out = [f":{key}: {value}" for key, value in env.items() if key != "Load"]
    tables = _tables(table)
    for grouped in tables:
        out += [
            "",
            f".. list-table:: {_caption(grouped[0], rounds, how)}",
            "   :header-rows: 1",
            "",
            *_rst_row(["", *(figure.loop for figure in grouped[0].figures)]),
        ]
        for line in grouped:
            cells = [_rst_cell(line, figure) for figure in line.figures]
            out += _rst_row([line.row.name, *cells])
    out += [
        "",
        f"In brackets {_note(tables)}; the best of the others is bold.",
    ]
    errors = _errors(results)
    if errors:
        out += ["", *(f"- {error}" for error in errors)]
    return "\n".join(out) + "\n"


def _rst_row(cells: Iterable[str]) -> list[str]:
    first, *others = (f" {cell}" if cell else "" for cell in cells)
    return [f"   * -{first}", *(f"     -{cell}" for cell in others)]


def _rst_cell(line: Line, figure: Figure) -> str:
    cell = _value(line, figure)
    if figure.ratio is not None:
        cell += f" ({figure.ratio:.2f})"
    if figure.best_peer:
        return f"**{cell}**"
    if line.lost and figure.loop == loops.OURS:
        return f"{cell} *lost*"
    return cell


def as_json(
    env: dict[str, str], table: Sequence[Line], results: Results, how: str
) -> dict[str, object]:
    """Return the report as plain dicts and lists, every round included."""
    return {
        "environment": env,
        "reduced": how,
        "rows": [
            {
                "group": line.row.group,
                "name": line.row.name,
                "operation": line.row.description,
                "measure": line.measure.name,
                "unit": line.measure.unit,
                "against": line.measure.against,
                "lost": line.lost,
                "loops": {
                    figure.loop: _json_cell(line, figure, results)
                    for figure in line.figures
                },
            }
            for line in table
        ],
    }


def _json_cell(line: Line, figure: Figure, results: Results) -> dict[str, object]:
    cell = results[line.row.key, figure.loop]
    return {
        "value": figure.value,
        "ratio": figure.ratio,
        "rounds": cell.figures(line.measure),
        "error": cell.error,
    }
