"""Tables and plots from records alone: the same bytes every time, every planned cell present, odd records survived."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.analyse import frames
from harness.analyse.findings import findings
from harness.records.schema import SCHEMA
from harness.records.store import FILE, read
from harness.report import plots, sweep_plots, tables
from harness.report.everything import write_plots
from tests.conftest import Cli

GROUP = {"layer": "one", "dims": "N=4,D=8", "dtype": "float32", "device": "cpu", "threads": 1}
BIG = {**GROUP, "dims": "N=40,D=8"}
RATIOS = {"fast": 0.5, "slow": 1.5, "same": 1.0}


def _samples(
    group: dict[str, Any], strategy: str, launch: int, seconds: np.ndarray[Any, Any], **more: Any
) -> dict[str, Any]:
    n = len(seconds)
    return {
        "kind": "samples", **group, "strategy": strategy, "again": False, "pass": "forward", "launch": launch,
        "calls": 10, "seconds": [float(10 * s) for s in seconds], "order": [0] * n, "faults": [0] * n,
        "switches": [0] * n, "cpu_seconds": [1.0] * n, "wall_seconds": [1.0] * n, "steady": True, "digest": "x", **more,
    }  # fmt: skip


def records(launches: int = 8, seed: int = 0) -> list[dict[str, Any]]:
    """A run with a known answer: two sizes; a strategy twice as fast, a slower one, a tie, one skipped, one crashed."""
    rng = np.random.default_rng(seed)
    wanted = {"layers": ["one"], "strategies": ["base", *RATIOS, "skipped", "crashed"], "baseline": ""}
    found: list[dict[str, Any]] = [
        {"kind": "run", "schema": SCHEMA, "wanted": wanted, "baselines": {"one": "base"}, "devices": ["cpu"], "groups": [GROUP, BIG], "passes": ["forward"], "launches": launches},
        {"kind": "environment", "cpu": "A CPU", "torch": "2.13", "packages": {"torch": "2.13"}, "unknown": {}},
        {"kind": "layer", "layer": "one", "task_title": "t", "task_naive": "zero", "naive_loss": 1.0, "target_loss": 0.1},
        {"kind": "status", "layer": "one", "strategy": "skipped", "status": "skipped", "reason": "no | device", "stage": "plan",
         "dims": "", "dtype": "", "device": "cpu", "threads": 0, "pass": ""},
        {"kind": "status", **BIG, "strategy": "crashed", "status": "crashed", "reason": "killed", "stage": "time", "pass": ""},
    ]  # fmt: skip
    for simplicity, name in enumerate(wanted["strategies"]):
        style = (
            {"color": "#0072B2", "marker": "o", "dash": "-"}
            if name == "base"
            else dict.fromkeys(("color", "marker", "dash"))
        )
        found.append({"kind": "strategy", "layer": "one", "strategy": name, "simplicity": simplicity, **style})
    for launch in range(1, launches + 1):
        for group in (GROUP, BIG):
            machine = 1e-4 * (10 if group is BIG else 1) * rng.lognormal(0, 0.1)
            shared = rng.lognormal(0, 0.05, 21)

            def arm(ratio: float, machine: float = machine, shared: Any = shared) -> Any:
                return machine * ratio * shared * rng.lognormal(0, 0.01, 21)

            found.append(_samples(group, "base", launch, arm(1.0)))
            found.append(_samples(group, "base", launch, arm(1.0), again=True))
            found += [_samples(group, name, launch, arm(ratio)) for name, ratio in RATIOS.items()]
    for name in ("base", *RATIOS):
        found.append({"kind": "memory", **GROUP, "strategy": name, "saved": 0, "forward_peak": 128, "backward_peak": 256,
                      "step_peak": 256, "left": 0})  # fmt: skip
        found.append({"kind": "training", "layer": "one", "strategy": name, "dtype": "float32", "device": "cpu", "result": "ok",
                      "steps": 2, "starts": 1, "losses": [1.0, 0.5, 0.05], "oracle_losses": [1.0, 0.5, 0.05],
                      "final_loss": 0.05, "error": 1e-8, "bound": 1e-6, "detail": ""})  # fmt: skip
    return found


def write(folder: Path, items: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    lines = []
    for number, item in enumerate(items):
        lines.append(json.dumps({"cell": f"c{number}", "attempt": 1, **item}))
        lines.append(json.dumps({"kind": "cell", "cell": f"c{number}", "attempt": 1, "seconds": 0}))
    (folder / FILE).write_text("\n".join(lines) + "\n")
    return folder


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_the_report_is_the_same_bytes_every_time(cli: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "run", records())
    assert cli("report", folder).returncode == 0
    first = _digests(folder)
    for path in [*(folder / "tables").iterdir(), *(folder / "plots").iterdir(), folder / "report.html"]:
        path.unlink()
    assert cli("report", folder).returncode == 0
    assert _digests(folder) == first
    plots_ = {f"plots/{name}-one.{end}" for name in ("speedup", "decision", "ratio", "noise") for end in ("svg", "png")}
    tables_ = {f"tables/{name}.{end}" for name in ("timing-one", "decision", "noise") for end in ("md", "csv", "tex")}
    assert {"report.html", *plots_, *tables_} <= set(first)


def test_the_known_answer_comes_out(tmp_path: Path) -> None:
    timing = frames.timing(read(write(tmp_path, records())))
    found = timing[timing["dims"] == GROUP["dims"]].set_index("strategy")
    for name, ratio in RATIOS.items():
        assert found.loc[name, "ratio_low"] <= ratio <= found.loc[name, "ratio_high"]
        assert found.loc[name, "ratio"] == pytest.approx(ratio, rel=0.01)
    assert dict(found["verdict"]) | {} == {
        "base": "baseline", "fast": "faster", "slow": "slower", "same": "tie", "skipped": "", "crashed": "",
    }  # fmt: skip
    assert found.loc["base", "launches"] == 8
    assert found.loc["base", "rounds"] == 168


def test_every_planned_cell_is_there_with_its_status(tmp_path: Path) -> None:
    timing = frames.timing(read(write(tmp_path, records())))
    assert len(timing) == 2 * 6
    status = timing.set_index(["dims", "strategy"])["status"]
    assert status[GROUP["dims"], "skipped"] == status[BIG["dims"], "skipped"] == "skipped"
    assert status[BIG["dims"], "crashed"] == "crashed"
    assert status[GROUP["dims"], "crashed"] == "skipped"
    assert "before it was measured" in timing.set_index(["dims", "strategy"])["reason"][GROUP["dims"], "crashed"]


def test_too_few_launches_give_no_interval_and_say_so(tmp_path: Path) -> None:
    timing = frames.timing(read(write(tmp_path, records(launches=4))))
    shown = tables.main(timing).set_index(["size", "strategy"])
    assert shown.loc[(GROUP["dims"], "fast"), "verdict"] == "inconclusive: 4 of 5 launches"
    assert float(shown.loc[(GROUP["dims"], "fast"), "speed-up"].rstrip("×")) == pytest.approx(2.0, rel=0.02)
    assert "(" not in shown.loc[(GROUP["dims"], "fast"), "speed-up"]


def test_markup_in_a_reason_does_not_break_the_table(tmp_path: Path) -> None:
    folder = write(tmp_path, records())
    tables.write_all(read(folder), folder / "tables")
    lines = (folder / "tables" / "timing-one.md").read_text().splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_a_run_without_any_measurement_still_has_its_tables(tmp_path: Path) -> None:
    items = [r for r in records() if r["kind"] not in ("samples", "memory", "training")]
    run = read(write(tmp_path, items))
    assert set(frames.timing(run)["status"]) == {"skipped", "crashed"}
    tables.write_all(run, tmp_path / "tables")
    write_plots(findings(run), tmp_path / "plots")
    assert (tmp_path / "plots" / "speedup-one.png").stat().st_size > 1000


def test_a_killed_process_that_draws_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = read(write(tmp_path, records()))
    monkeypatch.setattr(plots, "curves", lambda *_: os._exit(1))
    with pytest.raises(OSError, match="a process that drew plots was killed"):
        write_plots(findings(run), tmp_path / "plots")


def test_a_line_joins_sizes_with_the_same_options_only(tmp_path: Path) -> None:
    names = {GROUP["dims"]: "N=4,D=8,flag=0", BIG["dims"]: "N=40,D=8,flag=0"}

    def flagged(items: list[dict[str, Any]], flag: int) -> list[dict[str, Any]]:
        return [
            {**r, "dims": names[r["dims"]].replace("flag=0", f"flag={flag}")} if r.get("dims") else r for r in items
        ]

    plain, bent = flagged(records(), 0), flagged(records(seed=1), 1)
    plain[0]["groups"] = [*flagged([GROUP, BIG], 0), *flagged([GROUP, BIG], 1)]
    timing = frames.timing(read(write(tmp_path, [*plain, *(r for r in bent if r["kind"] == "samples")])))
    assert sorted(set(timing["dims"].map(frames.size))) == [32, 320]
    styles = {name: {"color": "#000000", "marker": "o", "dash": "-"} for name in set(timing["strategy"])}
    for figure in (plots.latencies(timing, [], styles, ""), sweep_plots.ratios(timing, styles, "")):
        assert figure is not None
        assert len(figure.axes) == 2
        for flag, axes in enumerate(figure.axes):
            assert f"float32 · 1 thread · flag={flag}\n" in axes.get_title(loc="left")
            assert axes.get_xlabel() == "size (N·D)"
            lines = [line for line in axes.get_lines() if line.get_marker() == "o"]
            assert lines
            assert all(list(line.get_xdata()) == [32, 320] for line in lines)


def test_a_pass_of_which_nothing_was_measured_has_no_panel(tmp_path: Path) -> None:
    timing = frames.timing(read(write(tmp_path, records())))
    left_out = timing.assign(**{"pass": "step", "status": "skipped", "verdict": "skipped"})
    styles = {name: {"color": "#000000", "marker": "o", "dash": "-"} for name in set(timing["strategy"])}
    for draw in (lambda t: plots.latencies(t, [], styles, ""), lambda t: sweep_plots.ratios(t, styles, "")):
        titles = [axes.get_title(loc="left") for axes in draw(pd.concat([timing, left_out], ignore_index=True)).axes]
        assert titles == [axes.get_title(loc="left") for axes in draw(timing).axes]
        assert titles


def test_without_a_baseline_there_are_times_and_no_ratios(tmp_path: Path) -> None:
    items = [r for r in records() if not (r["kind"] == "samples" and r["strategy"] == "base")]
    timing = frames.timing(read(write(tmp_path, items))).set_index(["dims", "strategy"])
    assert timing.loc[(GROUP["dims"], "fast"), "verdict"] == "no baseline"
    assert timing.loc[(GROUP["dims"], "fast"), "latency"] > 0
    write_plots(findings(read(tmp_path)), tmp_path / "plots")


def test_a_cuda_backward_is_derived_and_says_so(tmp_path: Path) -> None:
    cuda = {**GROUP, "device": "cuda"}
    items = records()
    items[0] |= {"groups": [cuda], "passes": ["forward", "forward_backward", "backward"]}
    items = [r for r in items if r["kind"] not in ("samples", "memory")]
    for launch in range(1, 6):
        for name, ratio in {"base": 1.0, "fast": 0.5}.items():
            wobble = 1 + 0.001 * launch
            items.append(_samples(cuda, name, launch, np.full(7, 1e-3 * wobble)))
            both = _samples(cuda, name, launch, np.full(9, (1e-3 + 2e-3 * ratio) * wobble))
            items.append({**both, "pass": "forward_backward"})
    timing = frames.timing(read(write(tmp_path, items)))
    row = timing[(timing["pass"] == "backward") & (timing["strategy"] == "fast")].iloc[0]
    assert row["flags"] == "derived"
    assert row["latency"] == pytest.approx(1e-3, rel=0.01)
    assert row["ratio"] == pytest.approx(0.5, rel=1e-6)


def test_digits_follow_the_interval() -> None:
    assert tables.speed_up(0.5, 0.49, 0.51) == "2.000× (1.961–2.041)"
    assert tables.speed_up(0.5, 0.3, 0.9) == "2.0× (1.1–3.3)"
    assert tables.speed_up(0.5, float("nan"), float("nan")) == "2.00×"
