"""The report's charts in Altair, without data: the page's script fills the data sets that they name."""

from datetime import datetime
from typing import Any, Final

import altair as alt

from handler.definitions.spec import ZONES

ZONE_COLOURS: Final = ("#b9d9c5", "#a8c7ef", "#f2c14e", "#b3202a")
_ARRIVALS: Final = {"on time": "#9fb8cc", "late": "#e07b16", "too late": "#7a1620"}
_NOTHING: Final = "#e3e3e3"
_INK: Final = "#222"
_ACCENT: Final = "#6a1b9a"

Chart = alt.Chart | alt.LayerChart | alt.FacetChart


def draw_charts(start: datetime, end: datetime) -> dict[str, dict[str, Any]]:
    """Draw all charts.

    Parameters
    ----------
    start
        UTC: the left end of every time axis.
    end
        UTC: the right end.

    Returns
    -------
    dict of str to dict
        Vega-Lite specifications by name. Each names its data sets, which the page's script fills; it sets the height of
        charts with a row a machine or a reason.
    """
    first, last = (alt.ExprRef(str(round(instant.timestamp() * 1000))) for instant in (start, end))
    time = alt.Scale(type="utc", domainMin=first, domainMax=last, nice=False)  # Vega-Lite unites `domain` with the data
    charts = {
        "zones": _draw_zones(time),
        "changes": _draw_changes(time),
        "readings": _draw_readings(time),
        "baseline": _draw_baseline(time),
        "freshness": _draw_freshness(time),
        "rejected": _draw_rejected(time),
    }
    return {name: _finish(chart) for name, chart in charts.items()}


def _finish(chart: Chart) -> dict[str, Any]:
    styled = (
        chart.configure(font="system-ui, sans-serif", background="transparent")
        .configure_view(stroke="#ccc")
        .configure_axis(
            labelColor=_INK, titleColor=_INK, gridColor="#e6e6e6", labelFontSize=11, titleFontWeight="normal"
        )
        .configure_axisY(labelLimit=110)
        .configure_legend(orient="top", title=None, labelFontSize=11, offset=4)
    )
    return dict(styled.properties(width="container").to_dict())


def _time(scale: alt.Scale) -> alt.X:
    return alt.X(
        "start:T",
        scale=scale,
        axis=alt.Axis(title=None, format="%d %b %H:%M", labelOverlap=True, grid=False, tickCount=8),
    )


def _machines() -> alt.Y:
    return alt.Y(
        "machine:N", sort=None, title=None, scale=alt.Scale(padding=0.06), axis=alt.Axis(domain=False, ticks=False)
    )


def _draw_zones(time: alt.Scale) -> Chart:
    """``cells``: machine, start, end, middle, zone; ``failures``: machine, start, code."""
    colour = alt.Scale(domain=[*ZONES, "none"], range=[*ZONE_COLOURS, _NOTHING])
    tooltip = [alt.Tooltip(name) for name in ("machine:N", "zone:N")]
    cells = (
        alt.Chart(alt.NamedData("cells"))
        .mark_rect(stroke="white", strokeWidth=1)
        .encode(_time(time), alt.X2("end:T"), _machines(), alt.Color("zone:N", scale=colour), tooltip=[
            *tooltip, alt.Tooltip("start:T", format="%d %b %H:%M", timeUnit="utcyearmonthdatehoursminutes")
        ])
    )  # fmt: skip
    letters = (
        alt.Chart(alt.NamedData("letters"))
        .mark_text(fontSize=10)
        .encode(
            alt.X("middle:T"),
            alt.Y("machine:N", sort=None),
            text="zone:N",
            color=alt.condition("datum.zone === 'D'", alt.value("white"), alt.value(_INK)),
        )
    )
    return alt.layer(cells, letters, _mark_failures()).properties(
        description="The worst zone of each machine in each block of hours, and its failures."
    )


def _mark_failures() -> alt.Chart:
    return (
        alt.Chart(alt.NamedData("failures"))
        .mark_point(shape="cross", size=70, filled=True, color="black", stroke="white", strokeWidth=1, opacity=1)
        .encode(alt.X("start:T"), alt.Y("machine:N", sort=None), tooltip=[alt.Tooltip("machine:N"), "code:N"])
    )


def _draw_changes(time: alt.Scale) -> Chart:
    """``cells``: machine, start, end, excess, text; ``ends``: of the colours, from the script."""
    colour = alt.Scale(
        scheme="purpleorange",
        reverse=True,
        domainMid=0,
        domainMin=alt.ExprRef("-reach"),
        domainMax=alt.ExprRef("reach"),
    )
    cells = (
        alt.Chart(alt.NamedData("cells"))
        .mark_rect(stroke="white", strokeWidth=1)
        .encode(
            _time(time),
            alt.X2("end:T"),
            _machines(),
            alt.Color("colour:Q", scale=colour, legend=None),
            tooltip=["machine:N", alt.Tooltip("text:N", title="against own baseline and fleet")],
        )
    )
    return (
        alt.layer(cells, _mark_failures())
        .properties(description="How far each machine left its own baseline, less what the fleet did.")
        .add_params(alt.param("reach", value=1))
    )


def _draw_readings(time: alt.Scale) -> Chart:
    """Draw what a machine measured.

    ``zones``: low, middle, high, zone. ``blocks``: start, middle, end, low, mean, high, piece. ``means``: start, mean,
    window. ``arrivals``: start, end, arrival. ``failures``: start, code, align, shift.
    """
    zones = (
        alt.Chart(alt.NamedData("zones"))
        .mark_rect(opacity=0.28)
        .encode(
            alt.Y("low:Q"),
            alt.Y2("high:Q"),
            alt.Color("zone:N", scale=alt.Scale(domain=list(ZONES), range=list(ZONE_COLOURS)), legend=None),
        )
    )
    letters = (
        alt.Chart(alt.NamedData("zones"))
        .mark_text(align="left", dx=4, fontWeight="bold", color=_INK)
        .encode(alt.Y("middle:Q"), text="zone:N", x=alt.value(0))
    )
    value = alt.Y("low:Q", title=None, scale=alt.Scale(zero=False, nice=False))
    bands = (
        alt.Chart(alt.NamedData("blocks"))
        .mark_rect(color="#777", opacity=0.4, stroke="#777", strokeWidth=1)
        .encode(_time(time), alt.X2("end:T"), value, alt.Y2("high:Q"))
    )
    line = (
        alt.Chart(alt.NamedData("blocks"))
        .mark_line(color=_INK, strokeWidth=1.2, point=alt.OverlayMarkDef(size=6, color=_INK))
        .encode(
            alt.X("middle:T"),
            alt.Y("mean:Q"),
            alt.Detail("piece:N"),
            tooltip=[alt.Tooltip("middle:T", format="%d %b %H:%M"), "low:Q", "mean:Q", "high:Q"],
        )
    )
    means = (
        alt.Chart(alt.NamedData("means"))
        .mark_line(color=_ACCENT, strokeWidth=1.6)
        .encode(
            alt.X("start:T"),
            alt.Y("mean:Q"),
            alt.StrokeDash("window:N", sort=None, legend=alt.Legend(symbolStrokeColor=_ACCENT)),
        )
    )
    rule = alt.Chart(alt.NamedData("failures")).mark_rule(strokeDash=[3, 2], strokeWidth=2).encode(alt.X("start:T"))
    names = (
        alt.Chart(alt.NamedData("failures"))
        .mark_text(align=alt.ExprRef("datum.align"), dx=alt.ExprRef("datum.shift"), fontWeight="bold", baseline="top")
        .encode(alt.X("start:T"), y=alt.value(4), text="code:N")
    )
    arrivals = (
        alt.Chart(alt.NamedData("arrivals"))
        .mark_rect()
        .encode(
            alt.X("start:T"),
            alt.X2("end:T"),
            alt.Color("arrival:N", scale=_arrival_colours(), legend=None),
            y=alt.value(284),
            y2=alt.value(292),
            tooltip=["arrival:N"],
        )
    )
    return (
        alt.layer(zones, letters, bands, line, means, arrivals, rule, names)
        .resolve_scale(color="independent")
        .properties(
            height=292, description="Readings of one machine: smallest to largest, mean, window means, failures."
        )
    )


def _arrival_colours() -> alt.Scale:
    return alt.Scale(domain=[*_ARRIVALS, "nothing came"], range=[*_ARRIVALS.values(), "#ffffff"])


def _draw_baseline(time: alt.Scale) -> Chart:
    """``fleet``: start, low, median, high; ``machine``: start, change."""
    axis = alt.Y("low:Q", title=None, scale=alt.Scale(zero=False))
    band = (
        alt.Chart(alt.NamedData("fleet"))
        .mark_area(color="#9aa7b1", opacity=0.45)
        .encode(_time(time), axis, alt.Y2("high:Q"))
    )
    median = (
        alt.Chart(alt.NamedData("fleet"))
        .mark_line(color="#5b6770", strokeDash=[5, 3])
        .encode(alt.X("start:T"), alt.Y("median:Q"))
    )
    machine = (
        alt.Chart(alt.NamedData("machine"))
        .mark_line(color=_ACCENT, strokeWidth=2.2)
        .encode(
            alt.X("start:T"),
            alt.Y("change:Q"),
            tooltip=[alt.Tooltip("start:T", format="%d %b %H:%M"), "change:Q"],
        )
    )
    rule = alt.Chart(alt.NamedData("failures")).mark_rule(strokeDash=[3, 2], strokeWidth=2).encode(alt.X("start:T"))
    return alt.layer(band, median, machine, rule).properties(
        height=180, description="The machine's change against its own baseline, beside the fleet's middle 80 per cent."
    )


def _draw_freshness(time: alt.Scale) -> Chart:
    """``segments``: machine, start, end, arrival."""
    return (
        alt.Chart(alt.NamedData("segments"))
        .mark_rect()
        .encode(
            _time(time),
            alt.X2("end:T"),
            _machines(),
            alt.Color("arrival:N", scale=_arrival_colours(), legend=alt.Legend(symbolStrokeColor="#999")),
            tooltip=["machine:N", "arrival:N"],
        )
        .properties(description="When readings of each machine came, came late, or did not come.")
    )


def _draw_rejected(time: alt.Scale) -> Chart:
    """``cells``: reason, start, end, middle, lines."""
    base = alt.Chart(alt.NamedData("cells"))
    reasons = alt.Y("reason:N", title=None, axis=alt.Axis(domain=False, ticks=False))
    cells = base.mark_rect(stroke="white", strokeWidth=1).encode(
        _time(time),
        alt.X2("end:T"),
        reasons,
        alt.Color("lines:Q", scale=alt.Scale(range=["#fdeedd", "#e8913c"], domainMin=0, type="sqrt"), legend=None),
        tooltip=["reason:N", "lines:Q"],
    )
    numbers = (
        alt.Chart(alt.NamedData("numbers"))
        .mark_text(fontSize=10, color=_INK)
        .encode(alt.X("middle:T"), alt.Y("reason:N"), text="lines:Q")
    )
    return alt.layer(cells, numbers).properties(
        description="Rejected lines by reason and by block of hours of arrival."
    )
