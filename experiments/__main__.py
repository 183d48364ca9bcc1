"""Trains every arm on simulated hospitals and writes docs/science.md; goes on where an earlier run stopped."""

import argparse
from pathlib import Path

from experiments.order import Order
from experiments.results import Results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="hospitals; beyond 5, of the compared arms alone")
    parser.add_argument("--patients", type=int, help="of each hospital; by default 1,500, with --quick 40")
    parser.add_argument("--quick", action="store_true", help="two epochs on a small hospital: shows that all runs")
    parser.add_argument("--out", type=Path, default=Path("docs/science.md"), help="figures go to images/ beside it")
    parser.add_argument("--workspace", type=Path, default=Path("build/science"), help="hospitals and results")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--report-only", action="store_true", help="write the page from the results that are there")
    given = parser.parse_args()
    patients = given.patients or (40 if given.quick else 1500)
    # Hospitals of another size, and quick runs, have folders of their own: their results must not meet.
    folder = given.workspace / f"{patients}-patients{'-quick' if given.quick else ''}"
    order = Order(folder.resolve(), given.seeds, patients, given.quick)
    if not given.report_only:
        from experiments.run import run

        run(order, given.workers, lambda line: print(line, flush=True))  # noqa: T201
    results = Results.read(order)
    if not results.raw:
        parser.error(f"no results in {folder}: run without --report-only")

    from experiments.page import write_page

    write_page(order, results, given.out)
    print(given.out)  # noqa: T201


if __name__ == "__main__":
    main()
