import pytest

from ftlib.errors import ModelError
from ftlib.estimate import architecture, estimate

# Parameter counts as EleutherAI publishes them with the models.
PUBLISHED = {
    "70m": 70_426_624,
    "160m": 162_322_944,
    "410m": 405_334_016,
    "1b": 1_011_781_632,
    "1.4b": 1_414_647_808,
    "2.8b": 2_775_208_960,
    "6.9b": 6_857_302_016,
    "12b": 11_846_072_320,
}


@pytest.mark.parametrize(("size", "parameters"), PUBLISHED.items())
def test_parameters_are_exact(size, parameters):
    assert estimate(f"EleutherAI/pythia-{size}").parameters == parameters


def test_pythia_70m_for_the_tutorials_arguments():
    need = estimate("EleutherAI/pythia-70m", batch_size=1, length=2048, accumulation_steps=4)
    assert need.parameters_without_embedding == 44_670_976
    assert need.flops_per_step / 1e9 == 2195.667812352
    assert need.weight_bytes == 281_706_496
    assert need.state_bytes == 16 * need.parameters
    assert need.logit_bytes == 2 * 4 * 2048 * 50_304


def test_a_configuration_works_as_well_as_a_name(tiny_model):
    need = estimate(tiny_model.config, batch_size=2, length=10)
    assert need.parameters == tiny_model.num_parameters()
    assert need.tokens_per_step == 20
    assert need.weight_bytes == sum(p.numel() * p.element_size() for p in tiny_model.parameters())


def test_unknown_names_and_bad_numbers_are_errors():
    with pytest.raises(ModelError, match=r"'pythia-70m' is shipped: choose from EleutherAI/pythia-70m"):
        architecture("pythia-70m")
    with pytest.raises(ModelError, match="length must be at least 1, not 0"):
        estimate("EleutherAI/pythia-70m", length=0)
