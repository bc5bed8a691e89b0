"""What demo and benches must show beside their figures: each command says which of its claims do not hold, and fails then."""

from collections.abc import Mapping

from rich.console import Console

Claims = Mapping[str, bool]


def exit_code(claims: Claims, console: Console) -> int:
    """Print the claims that do not hold; return what the command exits with."""
    wrong = [claim for claim, holds in claims.items() if not holds]
    for claim in wrong:
        console.print(f"[red]does not hold in this run: {claim}[/red]", highlight=False)
    return 1 if wrong else 0
