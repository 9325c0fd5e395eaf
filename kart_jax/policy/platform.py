"""What JAX computes on."""

import os

import jax

from kart_jax.validation import UserError


def check_platform() -> None:
    """Refuse to continue where JAX cannot use the devices that its settings name.

    Raises:
        UserError: says what to do.
    """
    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:  # the former, wordless, of jax 0.10.2
        named = os.environ.get("JAX_PLATFORMS")
        found = f"JAX finds no device of JAX_PLATFORMS={named}" if named else "JAX finds no device"
        words = f" ({error})" if str(error) else ""
        raise UserError(
            f"{found}{words}: install its build for them, see docs/accelerators.md, or unset it"
        ) from None
