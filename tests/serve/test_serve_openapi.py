"""Whatever the OpenAPI document allows, and much that it does not, is answered without a fault of the server."""

import contextlib

import hypothesis
import hypothesis.errors
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from serving import MakeApp

HEADERS = {"Host": "localhost", "Authorization": f"Bearer {'a' * 16}"}


# Schemathesis draws from Python's own generator, which Hypothesis minds where another thread has drawn meanwhile.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_is_a_fault_of_the_server(make_app: MakeApp, mode: GenerationMode):
    client = make_app({"anna": "a" * 16}, queue=3, depth_wait_s=0.05)
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app, headers=HEADERS)
    operations = [operation.ok() for operation in schema.get_all_operations()]
    assert len(operations) >= 25
    for operation in operations:
        if operation.path == "/readyz":  # there is no worker, and it says so
            continue

        @hypothesis.settings(
            max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def answers(case: schemathesis.Case) -> None:
            case.validate_response(case.call(headers=HEADERS), checks=[not_a_server_error])

        # An operation without parameters can only be asked in the right way.
        with contextlib.suppress(hypothesis.errors.Unsatisfiable):
            answers()
