"""voxkern.torch: operators, gradients, and models that are switched, beside torch's own."""

import copy
import io
import pathlib

import numpy as np
import pytest

import voxkern

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional
operators = voxkern.torch.operators

SIZE = {1: (13,), 2: (11, 7), 3: (7, 6, 5)}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(20260721)


def normal(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype)


def leaf(*shape):
    return normal(*shape).requires_grad_()


def close(got, want, scale=1.0):
    first = want if isinstance(want, torch.Tensor) else want[0]
    tolerance = 2e-5 if first.dtype == torch.float32 else 1e-11
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance * scale)


# --- operators ----------------------------------------------------------------------------------


def operator_calls():
    """Operators by name with arguments of every number of axes."""
    for axes, size in SIZE.items():
        ones, twos = [1] * axes, [2] * axes
        x, bias = leaf(2, 4, *size), leaf(6)
        down, up = leaf(6, 2, *(3, 2, 3)[:axes]), leaf(4, 3, *(3, 2, 3)[:axes])
        yield operators.conv, (x, down, bias, twos, ones, ones, 2)
        yield operators.conv_transpose, (x, up, bias, twos, ones, ones, 2, ones)
        yield operators.max_pool, (x, [3] * axes, twos, ones, ones, True)
        yield operators.avg_pool, (x, [3] * axes, twos, ones, True, False, None)
    statistics = normal(4), normal(4).abs() + 0.5
    yield operators.batch_norm_training, (x, leaf(4), leaf(4), 1e-5)
    yield operators.batch_norm_training, (x, None, None, 1e-5)
    yield operators.batch_norm_inference, (x, *statistics, leaf(4), leaf(4), 1e-5)
    yield operators.group_norm, (x, 2, leaf(4), leaf(4), 1e-5)
    yield operators.group_norm, (x, 4, None, None, 1e-5)


CALLS = [pytest.param(*call, id=f"{call[0]._name}-{i}") for i, call in enumerate(operator_calls())]


@pytest.mark.parametrize(("operator", "arguments"), CALLS)
def test_operators_pass_torchs_own_check(operator, arguments):
    torch.library.opcheck(operator, arguments)


@pytest.mark.parametrize(("operator", "arguments"), CALLS)
def test_gradients_are_those_of_differences(operator, arguments):
    def values(*given):
        found = operator(*given)
        return found[0] if isinstance(found, tuple) else found

    assert torch.autograd.gradcheck(values, arguments, nondet_tol=0.0)


def test_a_second_derivative_is_refused():
    x, weight = leaf(1, 2, 5, 5), leaf(3, 2, 3, 3)
    y = voxkern.torch.conv2d(x, weight)
    (grad,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        grad.sum().backward()


@pytest.mark.parametrize("need", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 0, 1)])
@pytest.mark.parametrize("name", ["conv3d", "conv_transpose3d"])
def test_only_gradients_that_are_needed_are_made(need, name, monkeypatch):
    backward = "conv_backward" if name == "conv3d" else "conv_transpose_backward"
    run, made = getattr(operators, backward), []
    monkeypatch.setattr(operators, backward, lambda *a: made.append(run(*a)) or made[-1])
    tensors = [normal(2, 4, 5, 6, 7), normal(4, 4, 3, 3, 3), normal(4)]
    for tensor, wanted in zip(tensors, need):
        tensor.requires_grad_(bool(wanted))
    getattr(voxkern.torch, name)(*tensors).sum().backward()
    assert [t.grad is not None for t in tensors] == [bool(n) for n in need]
    assert [g.numel() > 0 for g in made[0]] == [bool(n) for n in need]


def test_tensors_are_written_where_they_are_returned():
    x = normal(1, 2, 6, 5)
    assert np.shares_memory(operators.array(x), x.numpy())
    strided = normal(2, 5, 6, 3).permute(0, 3, 1, 2).requires_grad_()
    weight = leaf(4, 3, 2, 2)
    close(voxkern.torch.conv2d(strided, weight), functional.conv2d(strided, weight))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_functions_are_those_of_torch(axes):
    x, bias = normal(2, 4, *SIZE[axes]), normal(6)
    weight, wide = normal(6, 4, *(4, 3, 2)[:axes]), normal(4, 6, *(4, 3, 2)[:axes])
    d, ours = f"{axes}d", voxkern.torch
    for padding in ("same", "valid", 1):
        want = getattr(functional, f"conv{d}")(x, weight, bias, padding=padding)
        close(getattr(ours, f"conv{d}")(x, weight, bias, padding=padding), want, 8)
    calls = [
        (f"conv_transpose{d}", (x, wide, bias), {"stride": 2, "output_padding": 1}),
        (f"max_pool{d}", (x, 3), {"return_indices": True, "padding": 1}),
        (f"max_pool{d}", (x[0], 2), {"ceil_mode": True}),
        (f"avg_pool{d}", (x, 3, 2, 1), {"count_include_pad": False}),
        ("batch_norm", (x, normal(4), normal(4).abs()), {"eps": 0.1}),
        ("group_norm", (x, 2, normal(4), normal(4)), {}),
        ("instance_norm", (x,), {"weight": normal(4), "eps": 0.1}),
    ]
    for name, arguments, keywords in calls:
        got = getattr(ours, name)(*arguments, **keywords)
        want = getattr(functional, name)(*arguments, **keywords)
        close(got, want, 8)


def test_bad_arguments_are_named():
    x, weight = normal(1, 2, 5, 5), normal(3, 2, 3, 3)
    with pytest.raises(ValueError, match="weight has shape"):
        voxkern.torch.conv3d(x, weight)
    with pytest.raises(ValueError, match="stride is 0"):
        voxkern.torch.conv2d(x, weight, stride=0)
    with pytest.raises(ValueError, match="output_padding"):
        voxkern.torch.conv_transpose2d(x, weight.transpose(0, 1), output_padding=1)
    with pytest.raises(TypeError, match="dtype int64"):
        voxkern.torch.conv2d(x.long(), weight.long())
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        voxkern.torch.accelerate(functional.conv2d)


# --- models -------------------------------------------------------------------------------------


class Block(nn.Module):
    """Two convolutions around which the input goes, as in a ResNet."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            conv = nn.Conv3d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm3d(outputs))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(2)


def resnet():
    stem = nn.Conv3d(1, 8, (3, 7, 7), (1, 2, 2), (1, 3, 3)), nn.BatchNorm3d(8), nn.ReLU()
    blocks = Block(8, 8, 1), Block(8, 16, 2)
    return nn.Sequential(
        *stem, nn.MaxPool3d(3, 2, 1), *blocks, nn.Flatten(2), Mean(), nn.Linear(16, 5)
    )


class UNet(nn.Module):
    """One level of a UNet: instance norm, strided and transposed convolutions, a skip."""

    def __init__(self):
        super().__init__()
        self.inside = self.pair(1, 8)
        self.down = nn.Sequential(nn.AvgPool3d(2), self.pair(8, 16))
        self.up = nn.ConvTranspose3d(16, 8, 2, 2)
        self.outside = self.pair(16, 8)
        self.last = nn.Conv3d(8, 3, 1)

    @staticmethod
    def pair(inputs, outputs):
        first = nn.Conv3d(inputs, outputs, 3, padding=1), nn.InstanceNorm3d(outputs, affine=True)
        second = nn.Conv3d(outputs, outputs, 3, padding="same"), nn.GroupNorm(2, outputs)
        return nn.Sequential(*first, nn.LeakyReLU(0.1), nn.Dropout3d(0.1), *second, nn.PReLU())

    def forward(self, x):
        y = self.inside(x)
        return self.last(self.outside(torch.cat([y, self.up(self.down(y))], 1)))


MODELS = [resnet, UNet]


def volume(n=2, dtype=torch.float32):
    return normal(n, 1, 12, 20, 16, dtype=dtype)


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_are_those_of_the_model(make, dtype):
    model = make().to(dtype).train()
    for _ in range(3):
        model(volume(dtype=dtype))  # running statistics that are not the first
    fast, x = voxkern.torch.accelerate(model.eval()), volume(dtype=dtype)
    want = model(x)
    close(fast(x), want, 4)
    with torch.no_grad():
        close(fast(x), want.detach(), 4)
        close(fast(x), want.detach(), 4)
    with torch.inference_mode():
        close(fast(x), want.detach(), 4)


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_takes_the_same_course(make, dtype):
    model = make().to(dtype)
    for module in model.modules():
        if isinstance(module, nn.Dropout3d):
            module.p = 0.0
    fast = voxkern.torch.accelerate(model)
    batches = [volume(3, dtype) for _ in range(6)]
    courses = []
    for trained in (model, fast):
        steps = torch.optim.SGD(trained.parameters(), 0.02, momentum=0.9)
        losses = []
        for x in batches:
            steps.zero_grad()
            loss = (trained(x) - 1).square().mean()
            loss.backward()
            steps.step()
            losses.append(loss.detach())
        courses.append(torch.stack(losses))
    torch.testing.assert_close(*courses, rtol=2e-3 if dtype == torch.float32 else 1e-8, atol=0)
    if dtype == torch.float64:
        for (name, ours), theirs in zip(fast.state_dict().items(), model.state_dict().values()):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8, msg=name)


@pytest.mark.parametrize("make", MODELS)
def test_gradients_of_a_model(make):
    model = make().double()
    for module in model.modules():
        if isinstance(module, nn.Dropout3d):
            module.p = 0.0
    fast, x = voxkern.torch.accelerate(model), volume(dtype=torch.float64)
    for run in (model, fast):
        run(x).square().sum().backward()
    for (name, ours), theirs in zip(fast.named_parameters(), model.parameters()):
        size = 1 + theirs.grad.abs().max().item()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-9 * size, msg=name)


def test_a_copy_is_made_unless_in_place():
    model = resnet()
    fast = voxkern.torch.accelerate(model)
    assert type(model[0]) is nn.Conv3d
    assert not hasattr(model, "voxkern_replaced")
    assert fast[0].weight is not model[0].weight
    weight = model[0].weight
    assert voxkern.torch.accelerate(model, inplace=True) is model
    assert model[0].weight is weight
    assert isinstance(model[0], nn.Conv3d)
    again = voxkern.torch.accelerate(model)
    assert again.voxkern_replaced == model.voxkern_replaced == fast.voxkern_replaced


def test_what_was_replaced_is_told():
    class Own(nn.Conv1d):
        pass

    odd = nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")
    tracked = nn.InstanceNorm2d(3, track_running_stats=True)
    model = nn.ModuleDict({"a": nn.Conv1d(1, 2, 3), "b": odd, "c": Own(1, 1, 1), "d": tracked})
    model["e"] = nn.Sequential(nn.AvgPool3d(2), nn.Tanh())
    model["f"] = nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 1, 3))
    fast = voxkern.torch.accelerate(model)
    assert fast.voxkern_replaced == [("a", "Conv1d"), ("e.0", "AvgPool3d")]
    assert fast.voxkern_kept == [
        ("b", "Conv2d", "padding_mode 'reflect'"),
        ("c", "Own", "not served"),
        ("d", "InstanceNorm2d", "track_running_stats"),
        ("e.1", "Tanh", "not served"),
        ("f", "ParametrizedConv1d", "not served"),
        ("f.parametrizations.weight.0", "_WeightNorm", "not served"),
    ]


@pytest.mark.parametrize("make", MODELS)
def test_states_are_exchanged_with_the_model(make):
    model, fast = make().eval(), voxkern.torch.accelerate(make()).eval()
    x = volume()
    with torch.no_grad():
        fast(x)  # plans of the first weights
        assert list(fast.state_dict()) == list(model.state_dict())
        fast.load_state_dict(model.state_dict())
        close(fast(x), model(x), 4)
        saved = io.BytesIO()
        torch.save(fast, saved)
        states = io.BytesIO()
        torch.save(model, states)
        assert len(saved.getvalue()) < 1.2 * len(states.getvalue()) + 20000
        saved.seek(0)
        loaded = torch.load(saved, weights_only=False)
        for other in (loaded, copy.deepcopy(fast)):
            assert torch.equal(other(x), fast(x))
            assert other.voxkern_replaced == fast.voxkern_replaced
            next(other.parameters()).zero_()
            assert not torch.equal(other(x), fast(x))


def fused():
    layers = nn.Conv3d(3, 8, 3, padding=1), nn.BatchNorm3d(8), nn.LeakyReLU(0.2)
    model = nn.Sequential(*layers, nn.Sequential(nn.Conv3d(8, 4, 1), nn.PReLU()))
    model.train()(normal(2, 3, 5, 6, 7, dtype=torch.float32))
    return model.eval()


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m[0].weight.data.mul_(2),
        lambda m: m[0].bias.detach().numpy().fill(3),
        lambda m: m[1].running_var.mul_(4),
        lambda m: m[1].weight.data.neg_(),
        lambda m: m[3][1].weight.data.fill_(0.7),
        lambda m: setattr(m[0], "weight", nn.Parameter(torch.zeros_like(m[0].weight))),
        lambda m: setattr(m[0], "bias", None),
        lambda m: setattr(m[0], "padding", (0, 0, 0)),
        lambda m: setattr(m[1], "eps", 0.5),
        lambda m: setattr(m[2], "negative_slope", -1.0),
        lambda m: setattr(m[1], "training", True),
        lambda m: m.insert(1, nn.Tanh()),
        lambda m: m.__setitem__(1, nn.Identity()),
    ],
)
def test_plans_follow_their_parameters(change):
    model = fused()
    fast, x = voxkern.torch.accelerate(model), normal(2, 3, 5, 6, 7, dtype=torch.float32)
    with torch.no_grad():
        before = fast(x)
        close(before, model(x), 4)
        change(model)
        change(fast)
        want = model(x)
        assert before.shape != want.shape or not torch.allclose(before, want, atol=1e-3)
        close(fast(x), want, 4)


def test_a_fused_convolution_is_what_it_was_when_called_alone():
    model = fused()
    fast, x = voxkern.torch.accelerate(model), normal(2, 3, 5, 6, 7, dtype=torch.float32)
    with torch.no_grad():
        fast(x)
        close(fast[0](x), model[0](x), 4)
        close(fast[:2](x), model[:2](x), 4)
        close(fast(input=x), model(x), 4)


def test_hooks_are_called():
    fast, seen = voxkern.torch.accelerate(fused()), []
    x = normal(2, 3, 5, 6, 7, dtype=torch.float32)
    for module in fast:
        module.register_forward_hook(lambda module, _, out: seen.append((module, out.min())))
    with torch.no_grad():
        by_hand = fast[3](fast[2](fast[1](fast[0](x))))
        once = list(seen)
        seen.clear()
        close(fast(x), by_hand, 4)
    assert seen == once
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("module", "x", "reason"),
    [
        (nn.Conv2d(2, 3, 3).bfloat16(), normal(1, 2, 5, 5, dtype=torch.bfloat16), "dtype"),
        (nn.Conv2d(2, 3, 3).to(torch.complex64), torch.ones(1, 2, 5, 5) + 1j, "dtype"),
        (nn.MaxPool2d(2), torch.arange(24).reshape(1, 1, 4, 6), "dtype"),
        (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), torch.ones(1, 2, 5, 5), "circ"),
        (nn.ConvTranspose2d(2, 3, 3, 1, 1, 1, dilation=2), torch.ones(1, 2, 5, 5), "output_padd"),
        (nn.Conv2d(2, 3, 3, device="meta"), torch.empty(1, 2, 5, 5, device="meta"), "device meta"),
        (nn.InstanceNorm1d(2, track_running_stats=True), torch.ones(2, 2, 5), "track"),
    ],
    ids=str,
)
def test_what_is_not_served_is_torchs(module, x, reason):
    module.eval()
    fast = voxkern.torch.accelerate(module)
    got, want = fast(x), module(x)
    assert got.dtype == want.dtype
    assert want.is_meta or torch.equal(got, want)
    assert reason in fast.voxkern_fallback


def test_autocast_is_torchs():
    module = nn.Conv2d(2, 3, 3).eval()
    fast, x = voxkern.torch.accelerate(module), normal(1, 2, 5, 5, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert fast(x).dtype == torch.bfloat16
    assert fast.voxkern_fallback == "autocast"
    fast(x)
    assert fast.voxkern_fallback is None


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(2, 3, 3),
        nn.ConvTranspose2d(2, 3, 2, 2),
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.BatchNorm2d(2),
        nn.GroupNorm(1, 2),
        nn.InstanceNorm2d(2),
    ],
    ids=lambda m: type(m).__name__,
)
@pytest.mark.parametrize("training", [False, True])
def test_an_empty_batch_is_as_in_torch(module, training):
    fast, x = voxkern.torch.accelerate(module.train(training)), torch.zeros(0, 2, 4, 4)
    results = []
    for run in (module, fast):
        try:
            results.append(run(x).shape)
        except (ValueError, RuntimeError) as error:
            results.append("refused" if error else None)
    assert results[0] == results[1]


def test_running_statistics_are_moved_as_in_torch():
    for momentum, tracked in ((0.3, True), (None, True), (0.3, False)):
        module = nn.BatchNorm2d(3, momentum=momentum, track_running_stats=tracked)
        fast = voxkern.torch.accelerate(module)
        for _ in range(3):
            x = 2 + normal(4, 3, 5, 6, dtype=torch.float32)
            close(fast(x), module(x), 4)
        for ours, theirs in zip(fast.buffers(), module.buffers(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5)
        close(fast.eval()(x), module.eval()(x), 4)


def test_an_output_size_is_obeyed():
    module = nn.ConvTranspose2d(2, 3, 3, 2)
    fast, x = voxkern.torch.accelerate(module), normal(1, 2, 4, 5, dtype=torch.float32)
    close(fast(x, output_size=(10, 12)), module(x, output_size=(10, 12)), 4)


def test_threads_are_torchs():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        voxkern.torch.conv1d(torch.ones(1, 1, 5), torch.ones(1, 1, 3))
        assert voxkern.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_subclasses_of_tensors_stay_what_they_are():
    class Named(torch.Tensor):
        pass

    fast, x = voxkern.torch.accelerate(fused()), normal(2, 3, 5, 6, 7, dtype=torch.float32)
    with torch.no_grad():
        got = fast(x.as_subclass(Named))
        assert type(got) is Named
        close(got.as_subclass(torch.Tensor), fast(x), 4)


def test_weights_of_parametrizations_are_followed():
    model = nn.Conv1d(2, 3, 3)
    fast = voxkern.torch.accelerate(model).eval()
    nn.utils.parametrizations.weight_norm(fast)
    x = normal(1, 2, 9, dtype=torch.float32)
    with torch.no_grad():
        for factor in (1, 3):
            fast.parametrizations.weight.original0.mul_(factor)
            want = functional.conv1d(x, factor * model.weight, model.bias)
            close(fast(x), want, 4)


def test_transforms_are_torchs():
    model, x = fused(), normal(2, 3, 5, 6, 7, dtype=torch.float32)
    fast = voxkern.torch.accelerate(model)
    with torch.no_grad():
        for run in (lambda f: torch.func.jvp(f, (x,), (x,)), lambda f: (torch.vmap(f)(x[None]),)):
            for got, want in zip(run(fast), run(model), strict=True):
                close(got, want, 4)
    assert fast[0].voxkern_fallback == "torch.func"
    state = dict(model.named_parameters())

    def loss(parameters, of):
        return torch.func.functional_call(of, parameters, (x,)).sum()

    got, want = torch.func.grad(loss)(state, fast), torch.func.grad(loss)(state, model)
    for name in state:
        close(got[name], want[name], 100)


@pytest.mark.parametrize("make", ["BasicUNet", "UNet"])
def test_networks_of_monai(make):
    nets = pytest.importorskip("monai.networks.nets")
    if make == "BasicUNet":
        model = nets.BasicUNet(features=(8, 8, 16, 16, 32, 8), dropout=0.1)
    else:
        model = nets.UNet(3, 1, 2, (8, 16, 32), (2, 2), num_res_units=2)
    fast, x = voxkern.torch.accelerate(model.eval()), normal(1, 1, 32, 16, 16, dtype=torch.float32)
    assert {type(m).__name__ for m in model.modules() if "Conv" in type(m).__name__} <= {
        *(name for _, name in fast.voxkern_replaced),
        "Convolution",
        "TwoConv",
    }
    with torch.no_grad():
        close(fast(x), model(x), 4)
    close(fast(x), model(x), 4)


def test_a_compiled_model_is_the_model():
    fast, x = voxkern.torch.accelerate(fused()), normal(2, 3, 5, 6, 7, dtype=torch.float32)
    compiled = torch.compile(fast, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        close(compiled(x), fast(x), 4)
    compiled(x).sum().backward()
    grad = fast[0].weight.grad.clone()
    fast.zero_grad()
    fast(x).sum().backward()
    close(fast[0].weight.grad, grad, 100)


def test_models_can_be_traced_and_exported():
    fast, x = voxkern.torch.accelerate(fused()), normal(2, 3, 5, 6, 7, dtype=torch.float32)
    other = normal(2, 3, 5, 6, 7, dtype=torch.float32)
    with torch.no_grad():
        want = fast(other)
        close(torch.jit.trace(fast, x)(other), want, 4)
        program = torch.export.export(fast, (x,))
        close(program.module()(other), want, 4)
    assert "voxkern.conv" in str(program.graph)


def test_the_examples_of_the_page_run(monkeypatch, tmp_path):
    page = pathlib.Path(__file__).parents[1] / "docs" / "use_from_torch.md"
    parts = page.read_text(encoding="utf-8").split("```python\n")[1:]
    assert len(parts) > 2
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for part in parts:
        exec(compile(part.partition("```")[0], "use_from_torch.md", "exec"), namespace)
