"""The table of variables."""

import pytest

import dfp
from dfp.results import schema
from dfp.results.certificate import Certificate


def test_every_member_of_solution_and_certificate_is_in_the_table():
    figures = set(Certificate.__dataclass_fields__) - {"sampled", "warnings"}
    assert figures == set(schema.FIGURES)
    assert set(schema.FIGURES) | set(schema.MOMENTS) <= set(schema.VARIABLES)


def test_labels_and_units():
    assert schema.label("density", 2) == "probability density [parameter⁻²]"
    assert schema.label("theta_2") == "parameter θ₂ [parameter]"
    assert schema.label("time") == "slow time τ = ηn [parameter² loss⁻¹]"
    assert schema.label("step") == "step n"
    assert schema.describe("theta_3_bounds", 3).dims == ("theta_3", "bound")
    for unknown in ("theta_0", "theta_{i}", "sigma"):
        with pytest.raises(dfp.DFPError, match="unknown"):
            schema.describe(unknown)
