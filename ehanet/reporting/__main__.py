"""The report page of a profile, with its training curves and the tables of data sets and claims: ``python -m ehanet.reporting reports/quick``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ehanet.reporting.claims import write_claims
from ehanet.reporting.curves import training_overview
from ehanet.reporting.datasets import write_datasets
from ehanet.reporting.page import report_page


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status; what goes wrong is said in one line."""
    parser = argparse.ArgumentParser(prog="python -m ehanet.reporting", description=__doc__.splitlines()[0])
    parser.add_argument("reports", type=Path, help="folder of a profile's report, such as reports/quick")
    parser.add_argument("--title", help="title of the page")
    options = parser.parse_args(arguments)
    try:
        for folder in sorted((options.reports / "runs").glob("*/")):
            training_overview(options.reports, folder.name)
        write_datasets(options.reports)
        write_claims(options.reports)
        page = report_page(options.reports, options.title)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
