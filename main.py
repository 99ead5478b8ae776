"""The CDKTF app: reads its configuration from cdktf.json, makes the stack of one deployment; no logic."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "constructs"))

from processing.bindings import App
from processing.stack import ProcessingStack, name_stack

app = App()
ProcessingStack(app, name_stack(os.environ), state=app.node.try_get_context("state"))
app.synth()
