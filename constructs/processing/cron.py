"""A cron expression, expanded by Terraform: the module's user gives it, so no Python sees it.

Each field becomes the values that it names. Hours and days follow: the days of four years, as numbers that grow by one.
The longest time between two runs is the longest between two hours in which one begins.
"""

from collections.abc import Mapping
from typing import Any, Final

_HORIZON_YEARS: Final = 4
_FIRST_YEAR: Final = 2024  # a leap year
_FIELDS: Final = (
    ("minutes", 0, 59, ()),
    ("hours", 0, 23, ()),
    ("day-of-month", 1, 31, ()),
    ("month", 1, 12, ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")),
    ("day-of-week", 1, 7, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")),
    ("year", 1970, 2199, ()),
)
"""Name, lowest and highest value, and names of the values: EventBridge Scheduler's user guide, "Schedule types"."""

_DAY: Final = 2
_WEEKDAY: Final = 4
_SPECIAL_DAY: Final = "^(L|LW|([1-9]|[12][0-9]|3[01])W)$"
_SPECIAL_WEEKDAY: Final = "^(L|([1-7]|[A-Z]{3})(L|#[1-5]))$"
_LONGEST_HOURS: Final = _HORIZON_YEARS * 366 * 24


def write_locals(expression: str) -> Mapping[str, Any]:
    """Write the locals in which Terraform expands a schedule.

    Parameters
    ----------
    expression
        The schedule's, as a Terraform expression.

    Returns
    -------
    Mapping of str to Any
        By name. ``cron_fields`` is empty for a rate, and ``cron_wrong`` names fields that Scheduler would refuse.
        ``cron_gap`` is null where there is such a field, or no run ever begins.
    """
    names = {str(number): {name: low + n for n, name in enumerate(names)}
             for number, (_, low, _, names) in enumerate(_FIELDS)}  # fmt: skip
    return {
        "cron_fields": f'${{try(split(" ", regex("^cron\\\\((.+)\\\\)$", {expression})[0]), [])}}',
        "cron_limits": [{"name": name, "low": low, "high": high} for name, low, high, _ in _FIELDS],
        "cron_names": names,
        "cron_items": f"${{{_read_items()}}}",
        "cron_special_days": f"${{{_find_special(_DAY, _SPECIAL_DAY)}}}",
        "cron_special_weekdays": f"${{{_find_special(_WEEKDAY, _SPECIAL_WEEKDAY)}}}",
        "cron_wrong": f"${{{_find_wrong()}}}",
        **{
            f"cron_{name.replace('-', '_')}": f"${{try({_expand(number)}, [])}}"
            for number, (name, *_) in enumerate(_FIELDS)
            if number > 0
        },
        "cron_years_to_come": f"${{[for y in local.cron_year : y if y >= {_FIRST_YEAR}]}}",
        "cron_horizon": "${try([for y in local.cron_years_to_come : y if y < local.cron_years_to_come[0] + "
        f"{_HORIZON_YEARS}], [])}}",
        "cron_months": f"${{{_list_months()}}}",
        "cron_days": f"${{{_list_days()}}}",
        "cron_gap": f"${{try({_measure_gap()}, null)}}",
    }


def _read_items() -> str:
    """Read each field as a list of spans with a step; null where an item is no span."""

    def number(text: str) -> str:
        return f"try(tonumber({text}), local.cron_names[n][{text}])"

    start = 'split("/", item)[0]'
    ends = f'split("-", {start})'
    limits = "local.cron_limits[n]"
    return (
        '[for n, field in local.cron_fields : [for item in split(",", field) : try({ '
        f'first = contains(["*", "?"], {start}) ? {limits}.low : {number(f"{ends}[0]")}, '
        f'last = contains(["*", "?"], {start}) || (length({ends}) == 1 && strcontains(item, "/")) ? {limits}.high : '
        f"{number(f'{ends}[length({ends}) - 1]')}, "
        'step = strcontains(item, "/") ? tonumber(split("/", item)[1]) : 1 }, null)]]'
    )


def _find_wrong() -> str:
    """Find the fields that Scheduler would refuse."""
    limits = "local.cron_limits[n]"
    inside = " && ".join(f"{end} >= {limits}.low && {end} <= {limits}.high" for end in ("item.first", "item.last"))
    special = (
        f"(n == {_DAY} && contains(local.cron_special_days, text)) || "
        f"(n == {_WEEKDAY} && contains(local.cron_special_weekdays, text))"
    )
    return (
        f"[for n, field in local.cron_fields : {limits}.name if !alltrue([for i, item in local.cron_items[n] : "
        f'[for text in [split(",", field)[i]] : try({inside} && item.step >= 1, {special})][0]]) || '
        f'(strcontains(field, "?") && !(field == "?" && contains([{_DAY}, {_WEEKDAY}], n)))]'
    )


def _find_special(field: int, pattern: str) -> str:
    return f'try([for text in split(",", local.cron_fields[{field}]) : text if can(regex("{pattern}", text))], [])'


def _expand(field: int) -> str:
    """Write the values of a field; a span whose end is before its start goes on at the lowest value."""
    _, low, high, _ = _FIELDS[field]
    size = high - low + 1
    shifted = f"(v < item.first ? v + {size} : v)"
    last = f"(item.last < item.first ? item.last + {size} : item.last)"
    is_in = f"try({shifted} <= {last} && ({shifted} - item.first) % item.step == 0, false)"
    return f"[for v in range({low}, {high + 1}) : v if anytrue([for item in local.cron_items[{field}] : {is_in}])]"


def _list_months() -> str:
    """List the months in which a run may begin: the number of the day before the first, and how many days."""
    leap = "((y % 4 == 0 && y % 100 != 0) || y % 400 == 0)"
    before = "[0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][m - 1]"
    days = "[31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][m - 1]"
    first = (
        f"365 * (y - 1) + floor((y - 1) / 4) - floor((y - 1) / 100) + floor((y - 1) / 400) + {before} + "
        f"({leap} && m > 2 ? 1 : 0)"
    )
    return (
        f"flatten([for y in local.cron_horizon : [for m in local.cron_month : {{ first = {first}, "
        f"days = {days} + ({leap} && m == 2 ? 1 : 0) }}]])"
    )


def _list_days() -> str:
    """List the days on which a run begins, by their number since the year 1; the first of these was a Monday."""
    return (
        f"flatten([for month in local.cron_months : [for d in range(1, month.days + 1) : month.first + d if "
        f"(contains(local.cron_day_of_month, d) || contains({_list_special_days()}, d)) && "
        f"(contains(local.cron_day_of_week, {_weekday('d')}) || {_is_special_weekday()})]])"
    )


def _list_special_days() -> str:
    """List a month's last day, its last working day, or the working day nearest to one; where that is asked for."""
    last, nearest = _weekday("month.days"), _weekday("n")
    moved = f"{nearest} == 7 ? (n == 1 ? 3 : n - 1) : {nearest} == 1 ? (n == month.days ? n - 2 : n + 1) : n"
    return (
        "flatten([for text in local.cron_special_days : "
        'text == "L" ? [month.days] : '
        f'text == "LW" ? [month.days - ({last} == 7 ? 1 : {last} == 1 ? 2 : 0)] : '
        f'[for n in [tonumber(trimsuffix(text, "W"))] : {moved} if n <= month.days]])'
    )


def _is_special_weekday() -> str:
    """Tell whether a day is a Saturday, the last of its weekday, or the one of a number; where that is asked for."""
    weekday = _weekday("d")
    return (
        "anytrue([for text in local.cron_special_weekdays : "
        f'text == "L" ? {weekday} == 7 : [for parts in [regex("^([1-7]|[A-Z]{{3}})(?:L|#([1-5]))$", text)] : '
        f"{weekday} == try(tonumber(parts[0]), local.cron_names[{_WEEKDAY}][parts[0]], 0) && "
        "(parts[1] == null ? d > month.days - 7 : ceil(d / 7) == tonumber(parts[1]))][0]])"
    )


def _weekday(day: str) -> str:
    """Write the number of a month's day in its week, Sunday being 1."""
    return f"((month.first + {day}) % 7 + 1)"


def _measure_gap() -> str:
    """Measure the hours between two runs: within a day, and from a day's last to the next day's first."""
    days, hours = "local.cron_days", "local.cron_hours"

    def steps(of: str) -> str:
        return f"[for i, next in slice({of}, 1, length({of})) : next - {of}[i]]"

    across = f"[for days in {steps(days)} : 24 * days - {hours}[length({hours}) - 1] + {hours}[0]]"
    never_again = f"[for only in [length({days})] : {_LONGEST_HOURS} if only == 1]"
    longest = f"max(concat({steps(hours)}, {across}, {never_again})...)"
    return f"length(local.cron_wrong) > 0 || length({days}) == 0 ? null : {longest}"
