"""Memory does not grow, operation by operation."""

import pytest

OPERATIONS = """
    call_soon call_soon_with_arguments call_soon_cancelled call_soon_threadsafe
    call_soon_that_fails call_soon_that_interrupts
    call_at call_later_cancelled handle_attributes bad_arguments
    watch signal_handler create_task create_future views debug
    exception_handler executor new_loop unclosed_handles
""".split()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_memory_does_not_grow(run_script, operation):
    run_script("leak", operation, timeout=300)
