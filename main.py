"""The CDKTF app: reads its configuration from cdktf.json, makes the stack; no logic."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "constructs"))

from processing.bindings import App
from processing.stack import ProcessingStack

app = App()
ProcessingStack(app, "processing", state=app.node.try_get_context("state"))
app.synth()
