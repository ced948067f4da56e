"""Plans: what is measured, in which order, and what is said of the rest."""

import dataclasses

import pytest

from harness.records.modes import LOOPED
from harness.records.schema import LayerFacts, StrategyFacts
from harness.run.jobs import Scope
from harness.run.plan import Plan, make_plan
from harness.run.wanted import PROFILES, Machine, UsageError, Wanted

SIZES = {
    "cpu": {"quick": ["N=4"], "default": ["N=4", "N=2", "N=8"], "full": ["N=4", "N=2"]},
    "cuda": {"quick": ["N=4"], "default": ["N=4"], "full": ["N=4"]},
}
LAYERS = [LayerFacts(name, "", "", "", "autograd", SIZES, "", "", "", 1.0, 0.5) for name in ("one", "two")]
BOTH = ("cpu", "cuda")
ALL = ("float64", "float32", "bfloat16")
STRATEGIES = [
    StrategyFacts(
        layer,
        name,
        "",
        "",
        "",
        devices=devices,
        dtypes=dtypes,
        needs=needs,
        kernels=kernels,
        error=error,
        missing="x" if name == "foreign" else None,
    )
    for layer in ("one", "two")
    for name, devices, dtypes, needs, kernels, error in (
        ("autograd", BOTH, ALL, (), (), None),
        ("compiled", BOTH, ALL, ("compiler",), (), None),
        ("triton", ("cuda",), ALL, ("triton",), ("k",), None),
        ("narrow", BOTH, ("float32",), (), (), None),
        ("broken", BOTH, ALL, (), (), "broken.py:1: NameError: x"),
        ("foreign", BOTH, ALL, (), (), "foreign.py:1: ModuleNotFoundError: No module named 'x'"),
    )
]
MACHINE = Machine(cuda=False, compiler=True, physical_cores=2)


def _plan(machine: Machine = MACHINE, **wanted: object) -> Plan:
    return make_plan(Wanted(**wanted), LAYERS, STRATEGIES, machine, ("x",))  # type: ignore[arg-type]


def _said(plan: Plan) -> dict[tuple[str, str], tuple[str, str]]:
    return {(s.strategy, s.dtype): (s.status, s.reason) for s in plan.statuses if s.layer == "one"}


def test_quick_is_one_size_two_passes_five_launches() -> None:
    plan = _plan(profile="quick")
    assert [str(g) for g in plan.groups] == ["one N=4 float32 cpu", "two N=4 float32 cpu"]
    assert plan.profile.passes == ("forward", "forward_backward")
    assert plan.launches == 5
    assert plan.first_call_jobs(frozenset()) == []


def test_default_is_three_sizes_one_in_bfloat16_and_one_on_every_core_the_most_telling_first() -> None:
    plan = _plan()
    assert [str(g) for g in plan.groups if g.layer == "one"] == [
        "one N=4 float32 cpu",
        "one N=2 float32 cpu",
        "one N=8 float32 cpu",
        "one N=4 bfloat16 cpu",
        "one N=4 float32 cpu 2 threads",
    ]
    assert {g.layer for g in plan.groups[:2]} == {"one", "two"}
    assert plan.launches == 8


def test_what_cannot_be_timed_says_why() -> None:
    said = _said(_plan())
    assert said["triton", "float32"] == (
        "skipped", "runs on cuda only; checked in Triton's interpreter, which is never timed",
    )  # fmt: skip
    assert said["narrow", "bfloat16"] == ("unsupported", "does not claim bfloat16")
    assert said["broken", ""] == ("runtime_error", "broken.py:1: NameError: x")
    assert said["foreign", ""][0] == "unsupported"


def test_without_a_compiler_what_needs_one_is_unsupported_with_the_fix() -> None:
    said = _said(_plan(dataclasses.replace(MACHINE, compiler=False)))
    assert said["compiled", ""] == ("unsupported", "needs a C++ compiler and none was found: install g++ or set CXX")


def test_kernels_are_interpreted_where_they_do_not_run_and_sizes_are_checked_where_they_do() -> None:
    cpu = {cell.strategies[0]: cell for cell in _plan().gates}
    assert cpu["triton"].interpret
    assert cpu["triton"].sizes == ()
    assert not cpu["autograd"].interpret
    assert len(cpu["autograd"].sizes) == 5
    cuda = {cell.strategies[0]: cell for cell in _plan(Machine(True, True, 2)).gates}
    assert cuda["triton"].group.device == "cuda"
    assert not cuda["triton"].interpret


def test_the_gate_alone_leaves_out_a_baseline_that_was_not_asked_for() -> None:
    assert {c.strategies[0] for c in _plan(strategies=("compiled",), measure=False).gates} == {"compiled"}
    assert {c.strategies[0] for c in _plan(strategies=("compiled",)).gates} == {"compiled", "autograd"}


def test_gates_and_controls_are_dealt_to_processes_and_none_is_lost() -> None:
    plan = _plan()
    jobs = plan.gate_jobs(2)
    names = [cell.name for job in jobs for cell in job.cells]
    assert len(jobs) == 2
    assert sorted(names) == sorted([*(c.name for c in plan.gates), "controls cpu"])
    assert jobs[0].cells[0].strategies == ("autograd",)  # a first word within seconds


@pytest.mark.parametrize("scope", [Scope("quick"), Scope(checks=("values",)), Scope(dims="N=1")])
def test_the_controls_run_where_the_gate_is_whole(scope: Scope) -> None:
    plan = _plan(scope=scope)
    controls = any(c.kind == "controls" for job in plan.gate_jobs(2) for c in job.cells)
    assert controls == scope.whole


VARIED = [
    *STRATEGIES,
    *(
        StrategyFacts("one", name, "", "", "", devices=devices, dtypes=ALL, variant_of="compiled")
        for name, devices in (("twice", BOTH), ("replayed", ("cuda",)))
    ),
]


def _varied(machine: Machine = MACHINE, **wanted: object) -> Plan:
    return make_plan(Wanted(layers=("one",), **wanted), LAYERS, VARIED, machine, ("x",))  # type: ignore[arg-type]


@pytest.mark.parametrize("profile", ["quick", "default"])
def test_variants_are_left_out_of_quick_looks_on_the_cpu_which_names_those_that_would_run(profile: str) -> None:
    plan = _varied(profile=profile)
    assert plan.left_out == ("twice",)
    assert not {"twice", "replayed"} & {*plan.wanted.strategies, *plan.strategies[plan.groups[0]]}
    assert not [s for s in plan.statuses if s.strategy in ("twice", "replayed")]


def test_variants_are_taken_by_name_by_the_full_profile_by_the_gate_alone_and_on_cuda() -> None:
    assert _varied(strategies=("twice",)).strategies[_varied().groups[0]] == ("autograd", "twice")
    assert _varied(baseline="twice").strategies[_varied().groups[0]][-1] == "twice"
    full, gate = _varied(profile="full"), _varied(profile="quick", measure=False)
    assert "twice" in full.strategies[full.groups[0]]
    for plan in (full, gate):
        assert plan.left_out == ()
        assert {c.strategies[0] for c in plan.gates} >= {"twice", "triton"}
        assert _said(plan)["replayed", ""] == (
            "skipped",
            "runs on cuda only, and declares no Triton kernels to interpret",
        )
    cuda = _varied(Machine(True, True, 2))
    assert {"twice", "replayed"} <= {*cuda.strategies[cuda.groups[0]]}
    assert _varied(Machine(True, True, 2), profile="quick").left_out == ("twice", "replayed")


def test_cuda_is_the_default_where_there_is_one_and_its_backward_is_derived() -> None:
    plan = _plan(Machine(True, True, 2), profile="full")
    assert plan.devices == ("cuda",)
    passes = {c.passed for job in plan.launch_jobs(1, plan.groups, frozenset()) for c in job.cells}
    assert passes == {"forward", "inference", "forward_backward", "step", "ensemble"}


def test_on_a_gpu_16_bits_come_first_and_three_clocks_share_the_time() -> None:
    dtypes = {}
    for profile in ("quick", "default"):
        plan = _plan(Machine(True, True, 2), profile=profile, layers=("one",))
        dtypes[profile] = [g.dtype for g in plan.groups]
        assert {job.seconds for job in plan.launch_jobs(1, plan.groups, frozenset())} == {plan.profile.seconds / 2}
    assert set(dtypes["quick"]) == {"bfloat16"}
    assert dtypes["default"][0] == "bfloat16"
    assert dtypes["default"].count("float32") == 1
    plan = _plan(MACHINE, profile="quick")
    assert {g.dtype for g in plan.groups} == {"float32"}
    assert {job.seconds for job in plan.launch_jobs(1, plan.groups, frozenset())} == {plan.profile.seconds}


def test_the_baseline_comes_along_when_one_strategy_is_wanted() -> None:
    plan = _plan(profile="quick", layers=("one",), strategies=("compiled",))
    assert plan.strategies[plan.groups[0]] == ("autograd", "compiled")


def test_a_launch_is_one_process_for_each_number_of_threads_and_every_cell_has_its_own_name() -> None:
    plan = _plan()
    jobs = [job for launch in (1, 2) for job in plan.launch_jobs(launch, plan.groups, frozenset())]
    assert [job.threads for job in jobs] == [1, 2, 1, 2]
    names = [cell.name for job in jobs for cell in job.cells]
    assert len(names) == len(set(names)) == 2 * (10 * 2 + 2)  # an ensemble for each of two layers


def test_what_failed_is_left_out_by_layer_and_by_group() -> None:
    plan = _plan(profile="quick")
    failed = frozenset({("one on cpu", "compiled"), (str(plan.groups[1]), "narrow")})
    cells = {c.group.layer: c.strategies for job in plan.launch_jobs(1, plan.groups, failed) for c in job.cells}
    assert cells == {"one": ("autograd", "narrow"), "two": ("autograd", "compiled")}


def test_a_job_travels_as_json() -> None:
    scope = Scope("full", ("values",), ("float32",), "N=1")
    for job in (*_plan(scope=scope).gate_jobs(2), *_plan().launch_jobs(3, _plan().groups, frozenset())):
        assert type(job).from_json(job.to_json()) == job


def test_only_these_sizes_and_passes_in_the_profile_or_not() -> None:
    plan = _plan(profile="quick", layers=("one",), dims=("N=99", "N=4"), passes=("step", "forward"), threads=(1,))
    assert [g.dims for g in plan.groups] == ["N=99", "N=4"]
    assert plan.profile.passes == ("forward", "step")
    with pytest.raises(UsageError, match="pass step_with_loss was timed by earlier versions only: choose from forward"):
        _plan(profile="quick", passes=("step_with_loss",))


def test_a_step_is_timed_on_request_and_in_full() -> None:
    timed = {profile: {p for g in _plan(profile=profile).passes.values() for p in g} for profile in PROFILES}
    assert {profile for profile, passes in timed.items() if "step" in passes} == {"full"}
    assert all({"forward", "forward_backward"} <= passes for passes in timed.values())


def _sampled(**wanted: object) -> Plan:
    layers = [LAYERS[0], dataclasses.replace(LAYERS[1], has_samples=True)]
    return make_plan(Wanted(**wanted), layers, STRATEGIES, MACHINE, ("x",))  # type: ignore[arg-type]


def test_looped_passes_are_timed_once_for_each_layer_at_its_smallest_size() -> None:
    for profile in ("default", "full"):
        plan = _sampled(profile=profile)
        looped = {str(g): [p for p in passes if p in LOOPED] for g, passes in plan.passes.items()}
        assert {g: p for g, p in looped.items() if p} == {
            "one N=2 float32 cpu": ["ensemble"],
            "two N=2 float32 cpu": ["per_sample", "ensemble"],
        }
    assert not [p for passes in _sampled(profile="quick").passes.values() for p in passes if p in LOOPED]


def test_looped_passes_that_are_asked_for_by_size_are_timed_at_each() -> None:
    plan = _sampled(profile="quick", dims=("N=9", "N=5"), passes=("per_sample",))
    assert {str(g): p for g, p in plan.passes.items()} == {
        "two N=9 float32 cpu": ("per_sample",), "two N=5 float32 cpu": ("per_sample",),
    }  # fmt: skip
    with pytest.raises(UsageError, match="--pass per_sample: one has no samples"):
        _sampled(profile="quick", layers=("one",), passes=("per_sample",))


def test_a_cuda_backward_brings_the_passes_that_it_is_derived_from() -> None:
    plan = _plan(Machine(True, True, 2), devices=("cuda",), passes=("backward",))
    assert plan.profile.passes == ("forward", "backward", "forward_backward")


def test_sizes_choose_the_layers_that_have_them_and_take_the_order_of_their_names() -> None:
    other = dataclasses.replace(LAYERS[1], sizes={"cpu": {"quick": ["A=1,B=2"]}})
    plan = make_plan(Wanted(profile="quick", dims=("B=5,A=3",)), [LAYERS[0], other], STRATEGIES, MACHINE, ("x",))
    assert {(g.layer, g.dims) for g in plan.groups} == {("two", "A=3,B=5")}
    with pytest.raises(UsageError, match="none of them is a size of layer one"):
        make_plan(Wanted(layers=("one", "two"), dims=("A=3,B=5",)), [LAYERS[0], other], STRATEGIES, MACHINE, ("x",))


def test_an_option_among_the_sizes_has_one_of_its_values() -> None:
    sizes = {"cpu": {"quick": ["N=4,flag=0"]}}
    layers = [LAYERS[0], dataclasses.replace(LAYERS[1], sizes=sizes, options={"flag": (0, 1)})]

    def plan(*dims: str) -> Plan:
        return make_plan(Wanted(profile="quick", dims=dims), layers, STRATEGIES, MACHINE, ("x",))

    assert {g.dims for g in plan("flag=0,N=5", "N=5,flag=1").groups} == {"N=5,flag=0", "N=5,flag=1"}
    with pytest.raises(UsageError, match="--dims N=5,flag=2: two's flag is one of 0, 1"):
        plan("N=5,flag=2")
    with pytest.raises(UsageError, match="--dims N=0,flag=1: name exactly a layer's dims, each size at least 1"):
        plan("N=0,flag=1")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"dims": ("N=4,M=2",)}, r"--dims N=4,M=2: name exactly a layer's dims"),
        ({"dims": ("N",)}, "--dims N: name exactly"),
        ({"dims": ("N=0",)}, "--dims N=0: name exactly"),
        ({"passes": ("sideways",)}, "unknown pass 'sideways': choose from forward"),
        ({"layers": ("three",)}, "unknown layer 'three': choose from one, two"),
        ({"strategies": ("fast",)}, "unknown strategy 'fast': choose from autograd, compiled, triton"),
        ({"devices": ("tpu",)}, "unknown device 'tpu': choose from cpu, cuda"),
        ({"dtypes": ("float31",)}, "unknown dtype 'float31': choose from float64, float32"),
        ({"scope": Scope(checks=("value",))}, "unknown check 'value': choose from values, untouched"),
        ({"scope": Scope(dtypes=("half",))}, "unknown dtype 'half'"),
        ({"scope": Scope(dims="Q=1")}, "--dims Q=1: name exactly a layer's dims"),
        ({"baseline": "fast"}, "unknown baseline 'fast'"),
        ({"devices": ("cuda",)}, "no CUDA device is available"),
        ({"launches": 0}, "--launches must be at least 1"),
        ({"threads": (3,)}, "--threads 3: this process may use 1 to 2 cores"),
    ],
)
def test_what_does_not_exist_is_refused_with_the_choices(wanted: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _plan(**wanted)
