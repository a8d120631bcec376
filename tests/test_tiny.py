"""The whole stack in a second: if something is badly wrong, this says so first."""

import numpy as np

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn, optim
from minigrad.utils.data import DataLoader, TensorDataset


def test_a_gradient():
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    ((x @ x).relu().sum() * 0.5).backward()
    np.testing.assert_allclose(x.grad.array, [[(3 + 4) / 2, (7 + 4) / 2], [(3 + 6) / 2, (7 + 6) / 2]])


def test_a_small_convolutional_network_learns_by_heart():
    mg.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 4 * 4, 3))
    images, labels = mg.randn(12, 1, 8, 8), mg.tensor([0, 1, 2] * 4)
    optimizer = optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(30):
        for x, y in DataLoader(TensorDataset(images, labels), batch_size=6, shuffle=True):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert (model(images).argmax(1) == labels).float().mean().item() == 1.0


def test_the_gradient_of_a_gradient():
    x = mg.tensor([0.3], dtype=mg.float64, requires_grad=True)
    slope = mg.grad(x.tanh().sum(), x, create_graph=True)[0]
    curve = mg.grad(slope.sum(), x)[0]
    t = np.tanh(0.3)
    np.testing.assert_allclose(curve.array, [-2 * t * (1 - t * t)])
