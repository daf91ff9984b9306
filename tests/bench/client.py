"""Bench: what the client costs the tool that it is in, and whether every run arrives. `make bench`; docs/bench.md.

Out: progress on stderr, Markdown on stdout, exit status 1 where a figure is beyond its limit.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

from tests.bench import conditions, endpoints, herd, programs, report
from tests.bench.conditions import Condition, Row
from tests.bench.programs import Program
from tests.portal import Portal
from tests.servers import remove, settings_read


def main() -> int:
    """Measure it all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100, help="runs of each program in each condition (%(default)s)")
    parser.add_argument("--posthog-runs", type=int, default=20, help="of posthog-python's (%(default)s)")
    parser.add_argument("--herd", type=int, default=1000, help="runs that end at once (%(default)s)")
    asked = parser.parse_args()
    for name in settings_read():  # the portal is to have its defaults
        os.environ.pop(name, None)

    load_before = report.load_average()
    with tempfile.TemporaryDirectory(prefix="vibetel-") as name, endpoints.serving() as urls:
        folder = Path(name)
        portal = Portal(folder / "portal")
        served = conditions.of_endpoints(urls)
        at_portal = conditions.both_homes("this project's portal", portal.ingest_url, "no events")
        with tqdm(total=(2 + len(served) + len(at_portal)) * asked.runs + asked.herd, unit="run") as bar:

            def measure(condition: Condition, program: Program) -> Row:
                bar.set_description(condition.name)
                return conditions.measure(condition, program, asked.runs, asked.posthog_runs, bar.update)

            imports = [
                measure(Condition("bare interpreter", urls["healthy"], posthog=True), programs.BARE),
                measure(Condition("with argparse", urls["healthy"], posthog=True), programs.ARGPARSE),
            ]
            exits = [measure(condition, programs.TOOL) for condition in served]
            portal.start()
            try:
                exits += [measure(condition, programs.TOOL) for condition in at_portal]
                bar.set_description("at once")
                arrivals = herd.run_at_once(portal, folder, asked.herd, bar.update)
            finally:
                portal.stop()
                remove(portal.data_dir)
    tables = [report.imports(imports), report.exits(exits), report.arrivals(arrivals)]
    sys.stdout.write("\n\n".join([report.head(load_before), *tables]) + "\n")
    beyond = report.beyond(imports, exits, arrivals)
    sys.stdout.write("\n" + "\n".join(beyond or ["Every figure is within its limit."]) + "\n")
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
