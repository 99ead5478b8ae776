"""The handler as it is measured: its own pipeline on a folder, less the online table."""

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from obstore.store import LocalStore

from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR
from handler.lake.lake import Lake
from handler.pipeline.run import Job, run_pipeline
from handler.plan import Plan
from handler.stores.online import OnlineResult

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class HandlerRun:
    """One run on a lake folder, as often as wanted.

    Attributes
    ----------
    root
        The folder that holds ``raw/``.
    as_of
        Whose features are computed.
    time_window
        The span; with one hour, of all that lies in the lake only the rows of ``as_of`` are computed.
    allowed_lateness
        How late a reading may be; how far back the run looks for training files depends on it.
    is_store
        Whether to go by the object store's interface, as in S3, though the lake is in a folder.
    answer, rows
        What the last run returned, and the rows it would have put into the table.
    """

    root: Path
    as_of: datetime
    time_window: timedelta = HOUR
    allowed_lateness: timedelta = 24 * HOUR
    is_store: bool = False
    answer: dict[str, Any] = field(default_factory=dict)
    rows: pl.DataFrame = field(default_factory=pl.DataFrame)

    def run(self) -> None:
        """Do it."""
        spec = FeatureSpec.load()
        job = Job(
            lake=Lake(LocalStore(self.root)) if self.is_store else Lake.open(self.root.resolve().as_uri()),
            write_online=self._keep,
            spec=spec,
            now=NOW,
            report=lambda message, fields: None,
        )
        plan = Plan(self.as_of - self.time_window, self.as_of, spec.lookback, self.allowed_lateness)
        self.answer = run_pipeline(plan, job)

    def _keep(self, rows: pl.DataFrame) -> OnlineResult:
        self.rows = rows
        return OnlineResult(written=rows.height)

    def forget_everything(self) -> None:
        """Remove what runs left, so that the next one starts from raw lines."""
        shutil.rmtree(self.root / "processed", ignore_errors=True)
