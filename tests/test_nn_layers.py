"""Layers against numbers worked out by hand."""

import math

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn
from minigrad.errors import ShapeError


def filled(layer, value=1.0):
    for parameter in layer.parameters():
        nn.init.constant_(parameter, value)
    return layer


def close(out, expected, **tolerance):
    np.testing.assert_allclose(out.array, expected, **({"rtol": 1e-6} | tolerance))


# ---------------------------------------------------------------------------------------------------- linear, conv


def test_linear():
    layer = nn.Linear(2, 3)
    layer.load_state_dict({"weight": [[1, 2], [3, 4], [5, 6]], "bias": [0, 10, 100]})
    close(layer(mg.tensor([[1.0, 1.0], [2.0, 0.0]])), [[3, 17, 111], [2, 16, 110]])
    assert nn.Linear(2, 3, bias=False).bias is None
    assert nn.Linear(2, 3, dtype=mg.float64).weight.dtype == np.float64
    assert repr(nn.Linear(2, 3, bias=False)) == "Linear(in_features=2, out_features=3, bias=False)"


def test_identity_takes_any_settings():
    x = mg.ones(2)
    assert nn.Identity(3, p=0.5)(x) is x


def test_conv1d_slides_a_window():
    layer = nn.Conv1d(1, 1, 3, padding=1)
    layer.load_state_dict({"weight": [[[1, 0, -1]]], "bias": [10]})
    close(layer(mg.tensor([[[1.0, 2.0, 4.0, 8.0]]])), [[[8, 7, 4, 14]]])


def test_conv2d_is_a_cross_correlation():
    layer = nn.Conv2d(1, 1, 2, bias=False)
    layer.load_state_dict({"weight": [[[[1, 2], [0, -1]]]]})
    image = mg.tensor([[[[1.0, 3, 1], [0, -1, 1], [2, 2, -1]]]])
    close(layer(image), [[[[8, 4], [-4, 2]]]])  # 1*1 + 3*2 + 0 - (-1)*1 = 8 and so on


def test_a_convolution_shares_each_window_over_a_group():
    layer = filled(nn.Conv2d(4, 2, 1, groups=2))
    x = mg.tensor([1.0, 10.0, 100.0, 1000.0]).reshape(1, 4, 1, 1)
    close(layer(x).reshape(2), [12, 1101])
    assert layer.weight.shape == (2, 2, 1, 1)


@pytest.mark.parametrize(
    ("settings", "side"),
    [
        ({}, 5),
        ({"stride": 2}, 3),
        ({"padding": 1}, 7),
        ({"padding": "same"}, 7),
        ({"padding": "valid"}, 5),
        ({"dilation": 3}, 1),
        ({"padding": "same", "dilation": 2}, 7),
        ({"stride": (2, 2), "padding": (1, 1)}, 4),
    ],
)
def test_the_side_of_a_7x7_image_after_a_3x3_convolution(settings, side):
    assert nn.Conv2d(1, 1, 3, **settings)(mg.zeros(1, 1, 7, 7)).shape == (1, 1, side, side)


def test_an_even_window_with_same_padding_has_its_wider_margin_at_the_end():
    layer = filled(nn.Conv2d(1, 1, 2, padding="same", bias=False))
    close(layer(mg.tensor([[[[1.0, 10], [100, 1000]]]])), [[[[1111, 1010], [1100, 1000]]]])


def test_ten_5x5_filters_on_a_32x32_colour_image():
    layer = nn.Conv2d(3, 10, 5, padding=2)
    assert layer(mg.zeros(1, 3, 32, 32)).shape == (1, 10, 32, 32)
    assert sum(p.numel() for p in layer.parameters()) == 760


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": 2}, "groups 2 must divide in_channels 3 and out_channels 4"),
        ({"padding_mode": "reflect"}, "padding_mode 'reflect' is not supported, only 'zeros'"),
        ({"padding": "full"}, "padding 'full'; there are 'same', 'valid' and numbers"),
        ({"padding": "same", "stride": 2}, r"padding 'same' needs stride 1, got \(2, 2\)"),
        ({"stride": (1, 2, 3)}, r"stride \(1, 2, 3\); one number or 2 expected"),
    ],
)
def test_convolutions_that_can_not_be_are_refused_at_once(settings, message):
    with pytest.raises(ValueError, match=f"Conv2d: {message}"):
        nn.Conv2d(3, 4, 3, **settings)


def test_convolutions_show_what_is_out_of_the_ordinary():
    assert repr(nn.Conv1d(1, 2, 3)) == "Conv1d(1, 2, kernel_size=(3,), stride=(1,))"
    shown = repr(nn.Conv2d(2, 4, (3, 1), stride=2, padding="valid", dilation=2, groups=2, bias=False))
    assert shown == ("Conv2d(2, 4, kernel_size=(3, 1), stride=(2, 2), padding='valid', dilation=(2, 2), groups=2, bias=False)")


# ---------------------------------------------------------------------------------------------------- pooling


def test_pooling():
    image = mg.arange(16, dtype=mg.float32).reshape(1, 1, 4, 4)
    close(nn.MaxPool2d(2)(image), [[[[5, 7], [13, 15]]]])
    close(nn.MaxPool2d(3, 1)(image), [[[[10, 11], [14, 15]]]])
    out, places = nn.MaxPool2d(2, return_indices=True)(image)
    close(places, out.array)
    close(nn.AvgPool2d(2)(image), [[[[2.5, 4.5], [10.5, 12.5]]]])
    close(nn.AvgPool2d(2, padding=1, count_include_pad=False)(image)[0, 0, 0], [0, 1.5, 3])
    close(nn.AvgPool2d(2, divisor_override=1)(image), [[[[10, 18], [42, 50]]]])
    close(nn.AdaptiveAvgPool2d(1)(image), [[[[7.5]]]])
    close(nn.AdaptiveAvgPool2d((None, 2))(image)[0, 0, 0], [0.5, 2.5])
    assert nn.MaxPool2d(2, ceil_mode=True)(mg.zeros(1, 1, 5, 5)).shape == (1, 1, 3, 3)
    assert repr(nn.MaxPool2d(3, 2)) == "MaxPool2d(kernel_size=3, stride=2, padding=0, dilation=1, ceil_mode=False)"
    assert repr(nn.AvgPool2d(2)) == "AvgPool2d(kernel_size=2, stride=2, padding=0)"
    assert repr(nn.AdaptiveAvgPool2d(6)) == "AdaptiveAvgPool2d(output_size=6)"


# ---------------------------------------------------------------------------------------------------- normalisation


def test_batch_norm_in_training_and_out_of_it():
    layer = nn.BatchNorm1d(1, eps=0.0)
    x = mg.tensor([[0.0], [2.0], [4.0], [6.0]])  # mean 3, variance 5, unbiased 20/3
    close(layer(x), (np.array([[0.0], [2], [4], [6]]) - 3) / math.sqrt(5))
    close(layer.running_mean, [0.3])
    close(layer.running_var, [0.9 + 0.1 * 20 / 3])
    assert layer.num_batches_tracked.item() == 1
    layer.eval()
    nn.init.constant_(layer.weight, 2.0)
    nn.init.constant_(layer.bias, 1.0)
    expected = 2 * (x.array - 0.3) / math.sqrt(0.9 + 2 / 3) + 1
    close(layer(x), expected, rtol=1e-5)
    assert layer.num_batches_tracked.item() == 1


def test_without_momentum_the_running_statistics_are_plain_means():
    layer = nn.BatchNorm2d(1, momentum=None)
    for value in (1.0, 4.0, 10.0):
        layer(mg.tensor([value, value + 2]).reshape(2, 1, 1, 1))
    close(layer.running_mean, [6.0])
    close(layer.running_var, [2.0], rtol=1e-4)  # eps is taken off in float32
    layer.reset_running_stats()
    close(layer.running_mean, [0.0])
    close(layer.running_var, [1.0])
    assert layer.num_batches_tracked.item() == 0


def test_without_tracking_the_batch_serves_out_of_training_too():
    layer = nn.BatchNorm1d(1, affine=False, track_running_stats=False, eps=0.0).eval()
    close(layer(mg.tensor([[1.0], [3.0]])), [[-1], [1]])
    assert not list(layer.parameters()) and not layer.state_dict()


def test_batch_norm_resets_and_shows_itself():
    layer = filled(nn.BatchNorm2d(3), 5.0)
    layer.reset_parameters()
    close(layer.weight, [1, 1, 1])
    close(layer.bias, [0, 0, 0])
    assert list(layer.state_dict()) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert repr(layer) == "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.BatchNorm1d(3), (2, 4), r"\(N, C\) or \(N, C, L\) with C = 3"),
        (nn.BatchNorm1d(3), (2, 3, 1, 1), r"\(N, C\)"),
        (nn.BatchNorm2d(3), (2, 3), r"\(N, C, H, W\) with C = 3"),
    ],
)
def test_batch_norm_names_the_shape_that_fits(layer, shape, expected):
    with pytest.raises(ShapeError, match=expected):
        layer(mg.zeros(*shape))


def test_local_response_norm_with_the_papers_constants():
    x = np.arange(1.0, 8.0)
    out = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)(mg.tensor(x).reshape(1, 7, 1, 1))
    windows = [sum(v * v for v in x[max(0, i - 2) : i + 3]) for i in range(7)]
    close(out.reshape(7), [v / (2 + 1e-4 * s) ** 0.75 for v, s in zip(x, windows, strict=True)], rtol=1e-12)
    assert repr(nn.LocalResponseNorm(5)) == "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=1.0)"


# ---------------------------------------------------------------------------------------------------- shape, dropout


def test_flatten_and_unflatten_undo_each_other():
    x = mg.randn(2, 3, 4, 5)
    assert nn.Flatten()(x).shape == (2, 60) and nn.Flatten(0, 1)(x).shape == (6, 4, 5)
    for dim in (1, -1):
        close(nn.Unflatten(dim, (3, -1, 5))(nn.Flatten()(x)), x.array)
    with pytest.raises(ShapeError, match="does not fit"):
        nn.Unflatten(1, (7, 7))(nn.Flatten()(x))
    assert repr(nn.Unflatten(1, [3, 4])) == "Unflatten(dim=1, unflattened_size=(3, 4))"


def test_dropout_keeps_the_mean_in_training_and_everything_out_of_it():
    layer, x = nn.Dropout(0.25), mg.ones(100, 100)
    out = layer(x).array
    np.testing.assert_allclose(np.unique(out), [0, 4 / 3], rtol=1e-6)
    assert abs((out == 0).mean() - 0.25) < 0.02  # four and a half deviations
    assert layer.eval()(x) is x
    with pytest.raises(ValueError, match=r"Dropout: p = 1\.5 is not a probability"):
        nn.Dropout(1.5)
    assert repr(layer) == "Dropout(p=0.25)"


# ---------------------------------------------------------------------------------------------------- activations


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.ReLU(), [0, 0, 1]),
        (nn.LeakyReLU(0.1), [-0.2, 0, 1]),
        (nn.PReLU(), [-0.5, 0, 1]),
        (nn.ELU(2.0), [2 * math.expm1(-2), 0, 1]),
        (nn.Sigmoid(), [1 / (1 + math.exp(2)), 0.5, 1 / (1 + math.exp(-1))]),
        (nn.Tanh(), [math.tanh(-2), 0, math.tanh(1)]),
        (nn.Softplus(), [math.log1p(math.exp(-2)), math.log(2), math.log1p(math.e)]),
        (nn.Softplus(beta=2.0), [math.log1p(math.exp(-4)) / 2, math.log(2) / 2, math.log1p(math.exp(2)) / 2]),
        (nn.Softmax(-1), np.exp([-2, 0, 1]) / np.exp([-2, 0, 1]).sum()),
        (nn.LogSoftmax(dim=0), np.array([-2, 0, 1]) - math.log(np.exp([-2, 0, 1]).sum())),
        (nn.Maxout(3, dim=0), [1]),
    ],
    ids=repr,
)
def test_activation(layer, expected):
    close(layer(mg.tensor([-2.0, 0.0, 1.0])), expected, atol=1e-12)


def test_prelu_learns_a_slope_for_each_channel():
    layer = nn.PReLU(2, init=0.5)
    x = mg.tensor([[-1.0, 2.0], [-3.0, -4.0]])
    layer(x).sum().backward()
    close(layer.weight.grad, [-4, -4])  # the sum of the inputs that are not positive


def test_maxout_takes_the_larger_of_two_linear_pieces():
    layer = nn.Sequential(nn.Linear(1, 4), nn.Maxout(2))
    layer[0].load_state_dict({"weight": [[1], [-1], [2], [0]], "bias": [0, 0, 0, 1]})
    close(layer(mg.tensor([[3.0], [-2.0]])), [[3, 6], [2, 1]])  # |x| and max(2x, 1)


def test_activations_show_their_settings():
    assert [repr(layer) for layer in (nn.ReLU(), nn.LeakyReLU(), nn.PReLU(3), nn.Softmax(1), nn.Maxout())] == [
        "ReLU()",
        "LeakyReLU(negative_slope=0.01)",
        "PReLU(num_parameters=3)",
        "Softmax(dim=1)",
        "Maxout(pieces=2, dim=1)",
    ]


# ---------------------------------------------------------------------------------------------------- losses


def test_losses():
    logits = mg.tensor([[0.0, math.log(3)], [0.0, 0.0]])  # probabilities 1/4, 3/4 and 1/2, 1/2
    target = mg.tensor([1, 0])
    losses = [math.log(4 / 3), math.log(2)]
    close(nn.CrossEntropyLoss()(logits, target), sum(losses) / 2)
    close(nn.CrossEntropyLoss(reduction="none")(logits, target), losses)
    weighted = nn.CrossEntropyLoss(weight=mg.tensor([3.0, 1.0]))
    close(weighted(logits, target), (losses[0] + 3 * losses[1]) / 4)
    assert list(weighted.state_dict()) == ["weight"]
    close(nn.CrossEntropyLoss(ignore_index=0)(logits, target), losses[0])
    smoothed = 0.8 * losses[0] + 0.1 * (losses[0] + math.log(4))
    close(nn.CrossEntropyLoss(label_smoothing=0.2, reduction="none")(logits, target)[0], smoothed)
    close(nn.NLLLoss(reduction="sum")(F.log_softmax(logits, 1), target), sum(losses))
    close(nn.MSELoss()(mg.tensor([1.0, 2.0]), mg.tensor([3.0, 5.0])), 6.5)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss, nn.NLLLoss, nn.MSELoss])
def test_an_unknown_reduction_is_refused_when_the_loss_is_made(loss):
    with pytest.raises(ValueError, match=rf"{loss.__name__}: reduction 'avg'; there are 'mean', 'sum' and 'none'"):
        loss(reduction="avg")


def test_other_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"label_smoothing 1\.5"):
        nn.CrossEntropyLoss(label_smoothing=1.5)
    with pytest.raises(ValueError, match="beta = 0"):
        nn.Softplus(beta=0)


def test_an_error_in_anomaly_mode_names_the_line_outside_the_layers():
    layer = filled(nn.Linear(1, 1, bias=False), 1e38)
    with mg.detect_anomaly(), pytest.raises(mg.AnomalyError, match=r"test_nn_layers\.py:\d+ in test_an_error"):
        nn.Sequential(layer)(mg.tensor([[1e38]]))
