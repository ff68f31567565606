"""Turns results into a table for the terminal, reStructuredText or JSON."""

import os
import platform
import statistics
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from . import loops
from .registry import Workload
from .runner import Cell, Results

Reduce = Callable[[Sequence[float]], float]

BUILD_OPTIONS = (
    "--enable-optimizations",
    "--with-lto",
    "--enable-shared",
    "--with-pydebug",
    "--disable-gil",
)

REDUCE: dict[str, Reduce] = {"best": max, "median": statistics.median}


@dataclass(frozen=True)
class Figure:
    """What a table shows of one workload on one loop."""

    loop: str
    rate: float | None  #: operations a second; None for an error
    ratio: float | None  #: our rate divided by this one; None if not known
    best_peer: bool = False


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    row: Workload
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
    rows: Iterable[Workload], names: Sequence[str], results: Results, how: str
) -> list[Line]:
    """Reduce the results to one line a workload; *how* is a key of REDUCE."""
    return [
        _line(row, {name: results[row.key, name] for name in names}, REDUCE[how])
        for row in rows
    ]


def _line(row: Workload, cells: dict[str, Cell], reduce: Reduce) -> Line:
    rates = {
        name: reduce(cell.rates) if cell.error is None else None
        for name, cell in cells.items()
    }
    peers = {
        name: rate
        for name, rate in rates.items()
        if name != loops.OURS and rate is not None
    }
    best_peer = max(peers, key=peers.__getitem__, default=None)
    ours = rates.get(loops.OURS)
    figures = tuple(
        Figure(
            name,
            rate,
            ours / rate if ours and name in peers else None,
            name == best_peer,
        )
        for name, rate in rates.items()
    )
    lost = (
        loops.OURS in rates
        and best_peer is not None
        and (ours is None or ours < peers[best_peer])
    )
    return Line(row, figures, lost)


def _caption(group: str, rounds: int, how: str) -> str:
    text = f"{group}: thousand operations a second"
    return text if rounds == 1 else f"{text}, {how} of {rounds} rounds"


def _by_group(table: Iterable[Line]) -> dict[str, list[Line]]:
    grouped: dict[str, list[Line]] = {}
    for line in table:
        grouped.setdefault(line.row.group, []).append(line)
    return grouped


def _rate(rate: float | None) -> str:
    if rate is None:
        return "error"
    thousands = rate / 1000
    return f"{thousands:,.0f}" if thousands >= 100 else f"{thousands:.3g}"


def _errors(results: Results) -> list[str]:
    return [
        f"{key} on {name}: {cell.error}"
        for (key, name), cell in results.items()
        if cell.error is not None
    ]


def text(
    env: dict[str, str], table: Sequence[Line], results: Results, rounds: int, how: str
) -> str:
    """Return the report for a terminal."""
    out = [f"{key + ':':8} {value}" for key, value in env.items()]
    for group, grouped in _by_group(table).items():
        out += ["", _caption(group, rounds, how)]
        header = ["", *(figure.loop for figure in grouped[0].figures), ""]
        body = [
            [
                line.row.name,
                *map(_text_cell, line.figures),
                "lost" if line.lost else "",
            ]
            for line in grouped
        ]
        out += _aligned([header, *body])
    out += [
        "",
        f"x.xx: {loops.OURS}'s rate divided by that of the loop; "
        f"*: the best of the others; lost: {loops.OURS} is not first",
        *_errors(results),
    ]
    return "\n".join(out) + "\n"


def _text_cell(figure: Figure) -> str:
    if figure.loop == loops.OURS:
        return _rate(figure.rate)
    # Blanks where there is no ratio or no star keep the figures in line.
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    return f"{_rate(figure.rate)}{ratio:>6}{'*' if figure.best_peer else ' '}"


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
    for group, grouped in _by_group(table).items():
        out += [
            "",
            f".. list-table:: {_caption(group, rounds, how)}",
            "   :header-rows: 1",
            "",
            *_rst_row(["", *(figure.loop for figure in grouped[0].figures)]),
        ]
        for line in grouped:
            cells = [_rst_cell(figure, line.lost) for figure in line.figures]
            out += _rst_row([line.row.name, *cells])
    out += [
        "",
        f"In brackets {loops.OURS}'s rate divided by that of the loop; "
        "the best of the others is bold.",
    ]
    errors = _errors(results)
    if errors:
        out += ["", *(f"- {error}" for error in errors)]
    return "\n".join(out) + "\n"


def _rst_row(cells: Iterable[str]) -> list[str]:
    first, *others = (f" {cell}" if cell else "" for cell in cells)
    return [f"   * -{first}", *(f"     -{cell}" for cell in others)]


def _rst_cell(figure: Figure, lost: bool) -> str:
    cell = _rate(figure.rate)
    if figure.ratio is not None:
        cell += f" ({figure.ratio:.2f})"
    if figure.best_peer:
        return f"**{cell}**"
    if lost and figure.loop == loops.OURS:
        return f"{cell} *lost*"
    return cell


def as_json(
    env: dict[str, str], table: Sequence[Line], results: Results, how: str
) -> dict[str, object]:
    """Return the report as plain dicts and lists, every round included."""
    return {
        "environment": env,
        "unit": "operations a second",
        "reduced": how,
        "rows": [
            {
                "group": line.row.group,
                "name": line.row.name,
                "operation": line.row.description,
                "lost": line.lost,
                "loops": {
                    figure.loop: {
                        "rate": figure.rate,
                        "ratio": figure.ratio,
                        "rounds": results[line.row.key, figure.loop].rates,
                        "error": results[line.row.key, figure.loop].error,
                    }
                    for figure in line.figures
                },
            }
            for line in table
        ],
    }
