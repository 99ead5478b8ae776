"""When cron expressions fire, worked out day by day; nothing is shared with the module's own expansion."""

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise

_NAMES = {
    name: number
    for names in ("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", "SUN MON TUE WED THU FRI SAT")
    for number, name in enumerate(names.split(), 1)
}


def measure_longest_gap(expression: str, *, first: date, days: int) -> int:
    """Measure the hours between two hours in which a run begins, over some days."""
    hours = [*list_hours(expression, first, days)]
    return max(later - earlier for earlier, later in pairwise(hours))


def list_hours(expression: str, first: date, days: int) -> Iterator[int]:
    """List the hours, counted from the first day's midnight, in which a run begins."""
    _, hour, day_of_month, month, weekday, year = expression.removeprefix("cron(").removesuffix(")").split()
    for number in range(days):
        day = first + timedelta(days=number)
        if (
            fires(month, day.month, 12)
            and fires(year, day.year, 2199)
            and is_day(day_of_month, day)
            and is_weekday(weekday, day)
        ):
            yield from (24 * number + h for h in range(24) if fires(hour, h, 23))


def fires(field: str, value: int, highest: int) -> bool:
    for item in field.split(","):
        span, _, step = item.partition("/")
        low, _, high = span.partition("-")
        if low in ("*", "?"):
            low, high = "0" if highest in (23, 59) else "1", str(highest)
            low = "1970" if highest == 2199 else low
        start = int(_NAMES.get(low, low))
        end = int(_NAMES.get(high, high)) if high else (highest if step else start)
        if value in range(start, end + 1, int(step or 1)):
            return True
    return False


def is_day(field: str, day: date) -> bool:
    last = (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    if field == "L":
        return day == last
    if field == "LW":
        return day == max(d for d in (last - timedelta(days=n) for n in range(7)) if d.weekday() < 5)
    if field.endswith("W"):
        wanted = day.replace(day=int(field[:-1]))
        month = [day.replace(day=n + 1) for n in range(last.day)]
        return day == min((d for d in month if d.weekday() < 5), key=lambda d: abs(d - wanted))
    return fires(field, day.day, 31)


def is_weekday(field: str, day: date) -> bool:
    number = day.isoweekday() % 7 + 1
    if field == "L":
        return number == 7
    if field.endswith("L"):
        return fires(field[:-1], number, 7) and (day + timedelta(days=7)).month != day.month
    if "#" in field:
        wanted, _, which = field.partition("#")
        return fires(wanted, number, 7) and (day.day - 1) // 7 + 1 == int(which)
    return fires(field, number, 7)
