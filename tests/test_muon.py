import pytest
import torch

from ftlib.models.trainable import add_lora
from ftlib.muon import Muon, muon_and_adamw, orthogonalize


@pytest.mark.parametrize("shape", [(8, 8), (4, 16), (16, 4)])
def test_singular_values_come_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrix))
    assert values.min() > 0.5
    assert values.max() < 1.4


def test_directions_stay():
    u, _, v = torch.linalg.svd(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))
    matrix = u @ torch.diag(torch.tensor([5.0, 4, 3, 2, 1, 0.5])) @ v
    inner = u.T @ orthogonalize(matrix) @ v.T
    assert torch.allclose(inner, torch.diag(inner.diag()), atol=1e-4)


def test_it_agrees_with_torchs_own_up_to_bfloat16():
    start = torch.randn(8, 12, generator=torch.Generator().manual_seed(2))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    mine = Muon([ours], learning_rate=0.1, momentum=0.9, weight_decay=0.1)
    reference = torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0.1)
    for step in range(3):
        gradient = torch.randn(8, 12, generator=torch.Generator().manual_seed(step))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        reference.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.05 * moved


def test_a_parameter_without_gradient_stays():
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    Muon([parameter], learning_rate=1.0).step()
    assert torch.equal(parameter, torch.ones(2, 2))


def test_matrices_go_to_muon_and_everything_else_to_adamw(tiny_model):
    muon, adamw = muon_and_adamw(tiny_model, matrix_learning_rate=0.1, other_learning_rate=0.01, weight_decay=0.0)
    owned = [{id(p) for group in optimizer.param_groups for p in group["params"]} for optimizer in (muon, adamw)]
    names = [{name for name, p in tiny_model.named_parameters() if id(p) in own} for own in owned]
    assert all(".layers." in name and name.endswith("weight") for name in names[0])
    assert len(names[0]) == 4 * tiny_model.config.num_hidden_layers
    assert owned[0] | owned[1] == {id(p) for p in tiny_model.parameters()}
    assert not owned[0] & owned[1]


def test_with_adapters_alone_muon_has_all_and_adamw_nothing(tiny_model):
    model = add_lora(tiny_model, rank=2)
    muon, adamw = muon_and_adamw(model, matrix_learning_rate=0.1, other_learning_rate=0.01, weight_decay=0.0)
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for group in muon.param_groups for p in group["params"]} == trained
    assert not any(group["params"] for group in adamw.param_groups)
