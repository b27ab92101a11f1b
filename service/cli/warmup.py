"""`forecaster warmup`: compile everything now, so that no start has to."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import click

from service.cli._errors import FAILED
from service.cli._options import with_config
from service.config.sections import Config

CACHE_VARIABLE = "NUMBA_CACHE_DIR"


@click.command(short_help="Compile everything now, so that no start has to.")
@click.argument("directory", required=False, type=click.Path(file_okay=False, path_type=Path), metavar="[DIR]")
@with_config("--horizon", "--season", "--interval")
def warmup(config: Config, *, directory: Path | None) -> None:
    """Compile everything that a daemon and its trainings call, into DIR.

    For images and packages: later starts with NUMBA_CACHE_DIR=DIR find the machine code there. It is made for the
    network of the configuration and for this machine's kind of processor; another kind compiles for itself once, and
    keeps that beside it where DIR can be written. Without DIR it goes where NUMBA_CACHE_DIR says, else beside the
    program.

    A daemon runs over some events of its own making, with a training, in a temporary folder.

    Exit status: 0 compiled, 1 the daemon failed or DIR cannot be written, 2 wrong configuration.
    """
    config.library_model()
    environment = dict(os.environ)
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        environment[CACHE_VARIABLE] = str(directory.resolve())
    began = time.monotonic()
    # In a process of its own: where the compiler keeps its results is settled when the library is imported. -P: the
    # program that is installed, not one that lies in the present folder.
    command = [sys.executable, "-P", "-m", "service.cli._warmup_process"]
    done = subprocess.run(command, input=config.model_dump_json().encode(), env=environment, check=False)  # noqa: S603 - ourselves
    if done.returncode:
        raise click.exceptions.Exit(FAILED)
    where = environment.get(CACHE_VARIABLE)
    found = [path.stat().st_size for path in Path(where).rglob("*.nbc")] if where else []
    held = f": {len(found)} kernels, {sum(found) / 2**20:.1f} MiB in {where}" if where else ""
    click.echo(f"warm after {time.monotonic() - began:.0f} s{held}")
