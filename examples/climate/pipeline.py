"""How much, and how fast, North America warms under two emission scenarios.

The input is real: 240 years of surface air temperature over North America from the Met Office model HadGEM2-AO, as
annual means, under the scenarios A1B (rapid growth, balanced energy) and E1 (aggressive mitigation); both files come
with the package ``iris-sample-data``.

    discover ─► decades[file] ─► north.mean[decade] ─► north.trend ─┬─► figure   (PNG)
                            └──► south.mean[decade] ─► south.trend ─┴─► table    (CSV)

``python pipeline.py`` runs it here and says where figure and table are; ``python pipeline.py --help`` shows the rest,
``python pipeline.py submit --executor slurm --run-dir …`` sends the same pipeline through a scheduler.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from reflow import Flow, Param, Result, RunDir, RunState, Workflow


@dataclass(frozen=True)
class Box:
    """A band of latitudes, in degrees north."""

    name: str
    south: float
    north: float


@dataclass(frozen=True)
class Decade:
    """The years of one decade in one file: what one element of the big fan-out works on."""

    scenario: str
    file: Path
    first: int
    last: int


@dataclass(frozen=True)
class Means:
    """Area-weighted annual means of one scenario, in kelvin."""

    scenario: str
    years: list[int]
    kelvin: list[float]


@dataclass(frozen=True)
class Trend:
    """The anomalies of one region under one scenario (kelvin), and their trend (kelvin per decade)."""

    region: str
    scenario: str
    years: list[int]
    anomaly: list[float]
    since: int
    slope: float
    margin: float


# One region's analysis, written once. It leaves open where its decades and its box come from; each include binds them.
region = Flow("region")


@region.array_job(retries=2)  # file systems hiccup: read a file again before giving it up
def mean(decade: Annotated[Decade, Result(step="decades")], box: Annotated[Box, Result(step="box")]) -> Means:
    """Average one decade over one box, weighting each grid cell by its area."""
    import numpy as np
    import xarray as xr

    with xr.open_dataset(decade.file) as dataset:
        year = dataset["time"].dt.year
        cells = dataset["air_temperature"].sel(
            time=(year >= decade.first) & (year <= decade.last),
            latitude=slice(box.south, box.north),
        )
        weights = np.cos(np.deg2rad(cells["latitude"]))
        annual = cells.astype("float64").weighted(weights).mean(("latitude", "longitude"))
        return Means(decade.scenario, annual["time"].dt.year.values.tolist(), annual.values.tolist())


@region.job()
def trend(
    means: Annotated[list[Means], Result(step="mean")],
    box: Annotated[Box, Result(step="box")],
    baseline: Annotated[
        Literal["1861-1890", "1961-1990"], Param(help="the years that anomalies are taken against")
    ] = "1861-1890",
    since: Annotated[int, Param(help="first year of the trend", namespace="local")] = 1980,
) -> list[Trend]:
    """Fit a line to each scenario's anomalies; the margin is 95 %, with autocorrelation taken into account."""
    import numpy as np

    first, last = map(int, baseline.split("-"))
    trends = []
    for scenario in sorted({part.scenario for part in means}):
        parts = [part for part in means if part.scenario == scenario]
        years = np.concatenate([part.years for part in parts])
        kelvin = np.concatenate([part.kelvin for part in parts])
        order = np.argsort(years)
        years, kelvin = years[order], kelvin[order]
        anomaly = kelvin - kelvin[(years >= first) & (years <= last)].mean()

        x, y = years[years >= since], anomaly[years >= since]
        slope, intercept = np.polyfit(x, y, 1)
        rest = y - (slope * x + intercept)
        # Neighbouring years resemble each other, so there are fewer independent ones than years.
        memory = max(0.0, np.corrcoef(rest[:-1], rest[1:])[0, 1])
        independent = max(3.0, len(x) * (1 - memory) / (1 + memory))
        error = np.sqrt((rest**2).sum() / (independent - 2) / ((x - x.mean()) ** 2).sum())
        trends.append(
            Trend(box.name, scenario, years.tolist(), anomaly.tolist(), since, float(10 * slope), float(19.6 * error))
        )
    return trends


wf = Workflow("climate")


@wf.job()
def discover(
    data: Annotated[
        Path | None, Param(help="directory with NetCDF files, one a scenario; not given: the sample data")
    ] = None,
    pattern: Annotated[str, Param(help="which files in it")] = "*_north_america.nc",
) -> list[Path]:
    """Find the input files."""
    if data is None:
        import iris_sample_data

        data = Path(iris_sample_data.path)
    files = sorted(data.glob(pattern))
    if not files:
        raise FileNotFoundError(f"no {pattern} in {data}")
    return files


@wf.array_job()
def decades(file: Annotated[Path, Result(step="discover")]) -> list[Decade]:
    """Cut one file into decades."""
    import xarray as xr

    with xr.open_dataset(file) as dataset:
        years = dataset["time"].dt.year.values
        scenario = dataset["air_temperature"].attrs["Model scenario"]
    starts = sorted({int(year) // 10 * 10 for year in years})
    return [Decade(scenario, file, start, start + 9) for start in starts]


@wf.job()
def boreal() -> Box:
    """Say where the north is: Canada and its forests."""
    return Box("45–60°N", 45.0, 60.0)


@wf.job()
def subtropical() -> Box:
    """Say where the south is: Mexico and the Gulf."""
    return Box("15–30°N", 15.0, 30.0)


wf.include(region, prefix="north", inputs={"decades": "decades", "box": "boreal"})
wf.include(region, prefix="south", inputs={"decades": "decades", "box": "subtropical"})


@wf.job(verify=True)  # a figure that was deleted or changed is drawn again (the default, said aloud)
def figure(
    trends: Annotated[list[Trend], Result(steps=["north.trend", "south.trend"])],
    run_dir: RunDir,
) -> Path:
    """Draw anomalies and trends, one panel a region."""
    from matplotlib.figure import Figure

    regions = list(dict.fromkeys(trend.region for trend in trends))
    canvas = Figure(figsize=(8, 3.2 * len(regions)), layout="constrained")
    for axes, name in zip(canvas.subplots(len(regions), sharex=True, squeeze=False).flat, regions, strict=True):
        for colour, trend in enumerate(trend for trend in trends if trend.region == name):
            label = f"{trend.scenario}: {trend.slope:+.2f} ± {trend.margin:.2f} K per decade since {trend.since}"
            axes.plot(trend.years, trend.anomaly, color=f"C{colour}", linewidth=1, label=label)
        axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        axes.set(title=f"North America, {name}", ylabel="anomaly (K)")
        axes.legend(loc="upper left", frameon=False)
    path = run_dir / "warming.png"
    canvas.savefig(path, dpi=120)
    return path


@wf.job()
def table(
    trends: Annotated[list[Trend], Result(steps=["north.trend", "south.trend"])],
    run_dir: RunDir,
) -> Path:
    """Write the trends as CSV."""
    import csv

    path = run_dir / "trends.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["region", "scenario", "since", "kelvin_per_decade", "margin_95", "last_30_years_kelvin"])
        for trend in trends:
            recent = sum(trend.anomaly[-30:]) / 30
            writer.writerow(
                [
                    trend.region,
                    trend.scenario,
                    trend.since,
                    f"{trend.slope:.3f}",
                    f"{trend.margin:.3f}",
                    f"{recent:.2f}",
                ]
            )
    return path


def main() -> None:
    """Run everything here when called without arguments; otherwise be the command line."""
    if len(sys.argv) > 1:
        wf.cli()
        return
    run = wf.run_local("climate-run")
    if run.state is not RunState.SUCCESS:
        raise SystemExit(f"{run.run_id} ended {run.state.name}; `python {sys.argv[0]} status {run.run_id}` says more")
    tasks = run.status()["summary"].values()
    print(f"{sum(t['total'] for t in tasks)} elements, {sum(t['cached'] for t in tasks)} of them from the cache")
    print("figure:", run.result("figure"))
    print("table: ", run.result("table"))


if __name__ == "__main__":
    main()
